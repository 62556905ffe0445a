/* See transfer.h. curl's callbacks only copy bytes and note states; settle(), called last in every libuv callback, is
 * the one place where events are handed on and finished transfers are taken out.
 *
 * How it fails: a transfer that cannot start says so at once; everything later is on_done with an error. Transfers
 * that are freed while one of their callbacks is on the stack wait in `dead` until that callback is through. */
#include "provider/transfer.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/log.h"
#include "provider/multi.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdlib.h>
#include <strings.h>

#define LINGER_MS        1000        /* a released response's end may take this long … */
#define LINGER_BYTES_MAX (64 * 1024) /* … and this many bytes */
#define LINGER_TICK_MS   250

struct transfer_pool {
    struct multi multi;
    uv_idle_t kick;    /* events wait to be handed on */
    uv_timer_t linger; /* runs while released transfers wait for their end */
    struct tc_list ready, lingering;
    unsigned transfers; /* not freed, released ones included */
    unsigned open;      /* multi, kick and linger: not closed yet */
    void (*close_cb)(void *arg);
    void *close_arg;
};

struct transfer {
    struct transfer_pool *pool;
    CURL *easy;
    struct curl_slist *headers;
    struct transfer_events events;
    void *arg;
    struct transfer_head head;
    size_t head_bytes;
    struct tc_buf in;    /* read by curl, not handed on */
    struct tc_buf out;   /* being handed on; apart, because curl may add to `in` meanwhile */
    size_t out_from;     /* bytes of `out` that are through */
    struct tc_list link; /* in ready or lingering */
    bool in_multi;
    bool held;        /* by the user */
    bool curl_paused; /* curl was told to leave the socket alone */
    bool delivering;  /* a callback of this transfer is on the stack */
    bool over;        /* curl is done; err says how */
    bool told;        /* on_done was called */
    bool dead;        /* freed by the user, but still on the stack */
    bool released;
    uint64_t released_at; /* monotonic microseconds */
    size_t drained;       /* bytes since then */
    int err;
};

static void settle(void *arg);

static void on_kick(uv_idle_t *idle) {
    settle(idle->data);
}

static void make_ready(struct transfer *t) {
    struct transfer_pool *p = t->pool;

    if (t->dead || t->released || t->held || tc_list_linked(&t->link))
        return;
    tc_list_add_tail(&p->ready, &t->link);
    if (!uv_is_active((uv_handle_t *)&p->kick))
        uv_idle_start(&p->kick, on_kick);
}

/* ---- curl's callbacks: no event is handed on from here ---- */

static size_t on_write(char *bytes, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;

    n *= size;
    if (t->released) {
        t->drained += n;
        return t->drained > LINGER_BYTES_MAX ? 0 : n;
    }
    if (t->in.len > 0 && (t->held || t->in.len + n > TRANSFER_BUFFER_MAX)) {
        t->curl_paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    tc_buf_append(&t->in, bytes, n);
    make_ready(t);
    return tc_buf_ok(&t->in) ? n : 0;
}

/* Keeps the value if `line` is the header `name`; it is cut to what fits. */
static void pick_header(struct tc_str line, const char *name, char *out, size_t size) {
    size_t at = strlen(name), len = 0;

    if (line.n <= at || strncasecmp(line.p, name, at) != 0 || line.p[at] != ':')
        return;
    for (at++; at < line.n && (line.p[at] == ' ' || line.p[at] == '\t');)
        at++;
    while (at < line.n && len + 1 < size && line.p[at] != '\r' && line.p[at] != '\n')
        out[len++] = line.p[at++];
    out[len] = 0;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *arg) {
    struct transfer *t = arg;
    struct tc_str line = {bytes, size * n};

    t->head_bytes += line.n;
    if (t->head_bytes > TRANSFER_HEAD_MAX) {
        t->err = TC_ETOOLARGE;
        return 0;
    }
    if (line.n > 5 && memcmp(line.p, "HTTP/", 5) == 0)
        memset(&t->head, 0, sizeof(t->head)); /* what went before was a 100 Continue */
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &t->head.status);
    pick_header(line, "retry-after", t->head.retry_after, sizeof(t->head.retry_after));
    pick_header(line, "retry-after-ms", t->head.retry_after_ms, sizeof(t->head.retry_after_ms));
    return line.n;
}

/* ---- the life of a transfer ---- */

static void destroy(struct transfer *t) {
    tc_list_remove(&t->link);
    if (t->in_multi)
        curl_multi_remove_handle(t->pool->multi.curl, t->easy);
    curl_easy_cleanup(t->easy);
    curl_slist_free_all(t->headers);
    tc_buf_fini(&t->in);
    tc_buf_fini(&t->out);
    t->pool->transfers--;
    free(t);
}

void transfer_free(struct transfer *t) {
    if (!t || t->dead)
        return;
    tc_list_remove(&t->link);
    /* In the middle of a response curl closes the connection anyway; at its very end only this makes it. */
    if (!t->over)
        curl_easy_setopt(t->easy, CURLOPT_FORBID_REUSE, 1L);
    if (t->in_multi)
        curl_multi_remove_handle(t->pool->multi.curl, t->easy);
    t->in_multi = false;
    t->dead = true;
    if (!t->delivering)
        destroy(t);
}

/* Frees the released transfers that were released before `when`. */
static void free_lingering(struct transfer_pool *p, uint64_t when) {
    struct tc_list *node = p->lingering.next, *next;

    for (; node != &p->lingering; node = next) {
        struct transfer *t = TC_CONTAINER_OF(node, struct transfer, link);
        next = node->next;
        if (t->released_at <= when)
            transfer_free(t);
    }
}

static void on_linger(uv_timer_t *timer) {
    struct transfer_pool *p = timer->data;

    free_lingering(p, tc_mono_us() - (uint64_t)LINGER_MS * 1000);
    if (tc_list_empty(&p->lingering))
        uv_timer_stop(timer);
}

void transfer_release(struct transfer *t) {
    if (!t || t->dead || t->released)
        return;
    if (t->over) {
        transfer_free(t);
        return;
    }
    t->released = true;
    t->released_at = tc_mono_us();
    tc_list_remove(&t->link);
    tc_list_add_tail(&t->pool->lingering, &t->link);
    if (!uv_is_active((uv_handle_t *)&t->pool->linger))
        uv_timer_start(&t->pool->linger, on_linger, LINGER_TICK_MS, LINGER_TICK_MS);
    if (t->curl_paused) {
        t->curl_paused = false;
        curl_easy_pause(t->easy, CURLPAUSE_CONT);
    }
}

const struct transfer_head *transfer_head(const struct transfer *t) {
    return &t->head;
}

void transfer_hold(struct transfer *t) {
    t->held = true;
}

void transfer_unhold(struct transfer *t) {
    if (!t->held)
        return;
    t->held = false;
    make_ready(t);
}

/* ---- handing on ---- */

/* One chunk to the user. False: nothing to hand on now. */
static bool deliver_chunk(struct transfer *t) {
    if (t->out_from == t->out.len) {
        struct tc_buf empty = t->out;
        tc_buf_reset(&empty);
        t->out = t->in;
        t->in = empty;
        t->out_from = 0;
    }
    if (t->out.len == 0)
        return false;
    struct tc_str rest = {t->out.data + t->out_from, t->out.len - t->out_from};
    t->out_from += t->events.on_body(t->arg, rest);
    return true;
}

/* Lets curl read again; bytes it had put aside come at once, through on_write, and are handed on in the next turn. */
static void unpause(struct transfer *t) {
    t->curl_paused = false;
    curl_easy_pause(t->easy, CURLPAUSE_CONT);
}

static bool is_quiet(const struct transfer *t) {
    return t->dead || t->released || t->held;
}

/* Hands on what has been read, and no more: what curl reads next waits for its turn of the loop, or a model server that
 * is never out of bytes would keep the loop to itself. */
static void deliver(struct transfer *t) {
    t->delivering = true;
    while (!is_quiet(t) && deliver_chunk(t))
        ;
    if (!is_quiet(t) && t->curl_paused) {
        unpause(t);
    } else if (!is_quiet(t) && t->over && !t->told) {
        t->told = true;
        t->events.on_done(t->arg, t->err);
    }
    t->delivering = false;
    if (t->dead)
        destroy(t);
}

static int translate(CURLcode code) {
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
        return TC_ECONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return TC_ETIMEOUT;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return TC_ETLS;
    default:
        return TC_ELINK;
    }
}

static void collect_finished(struct transfer_pool *p) {
    CURLMsg *msg;
    int left;

    while ((msg = curl_multi_info_read(p->multi.curl, &left))) {
        struct transfer *t = NULL;
        CURLcode code = msg->data.result;
        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &t);
        curl_multi_remove_handle(p->multi.curl, t->easy); /* msg is gone from here on */
        t->in_multi = false;
        t->over = true;
        t->curl_paused = false;
        if (t->err == 0)
            t->err = translate(code);
        if (t->released)
            transfer_free(t);
        else
            make_ready(t);
    }
}

static void settle(void *arg) {
    struct transfer_pool *p = arg;
    struct tc_list batch;

    collect_finished(p);
    uv_idle_stop(&p->kick);
    tc_list_move(&p->ready, &batch);
    while (!tc_list_empty(&batch)) {
        struct transfer *t = TC_CONTAINER_OF(batch.next, struct transfer, link);
        tc_list_remove(&t->link);
        deliver(t);
    }
}

/* ---- starting ---- */

static int copy_headers(struct transfer *t, struct tc_str lines) {
    while (lines.n > 0) {
        const char *end = memchr(lines.p, '\n', lines.n);
        size_t n = end ? (size_t)(end - lines.p) : lines.n;
        char *line = tc_str_dup((struct tc_str){lines.p, n});
        struct curl_slist *grown = line ? curl_slist_append(t->headers, line) : NULL;
        free(line);
        if (!grown)
            return TC_ENOMEM;
        t->headers = grown;
        n += end ? 1 : 0;
        lines = (struct tc_str){lines.p + n, lines.n - n};
    }
    return 0;
}

static int set_up(struct transfer *t, const struct transfer_request *req) {
    CURL *e = t->easy;
    CURLcode rc = CURLE_OK;

#define SET(option, value) rc = rc != CURLE_OK ? rc : curl_easy_setopt(e, option, value)
    SET(CURLOPT_URL, req->url);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTPHEADER, t->headers);
    SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)req->body.n);
    SET(CURLOPT_COPYPOSTFIELDS, req->body.p);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)req->connect_timeout_ms);
    SET(CURLOPT_WRITEFUNCTION, on_write);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, t);
    SET(CURLOPT_PRIVATE, t);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    SET(CURLOPT_QUICK_EXIT, 1L); /* an abort must not wait for a name server */
#endif
#undef SET
    return rc == CURLE_OK ? 0 : rc == CURLE_OUT_OF_MEMORY ? TC_ENOMEM : TC_EINVAL;
}

int transfer_start(struct transfer **out, struct transfer_pool *p, const struct transfer_request *req,
                   const struct transfer_events *events, void *arg) {
    struct transfer *t = calloc(1, sizeof(*t));
    int rc = TC_ENOMEM;

    if (!t)
        return TC_ENOMEM;
    t->pool = p;
    t->events = *events;
    t->arg = arg;
    tc_buf_init(&t->in, 0);
    tc_buf_init(&t->out, 0);
    p->transfers++;
    t->easy = curl_easy_init();
    if (!t->easy)
        goto err_after_alloc;
    rc = copy_headers(t, req->headers);
    if (rc == 0)
        rc = set_up(t, req);
    if (rc != 0)
        goto err_after_alloc;
    if (curl_multi_add_handle(p->multi.curl, t->easy) != CURLM_OK) {
        rc = TC_ENOMEM;
        goto err_after_alloc;
    }
    t->in_multi = true;
    *out = t;
    return 0;

err_after_alloc:
    destroy(t);
    return rc;
}

/* ---- the pool ---- */

int transfer_pool_create(struct transfer_pool **out, uv_loop_t *loop) {
    struct transfer_pool *p = calloc(1, sizeof(*p));
    int rc;

    if (!p)
        return TC_ENOMEM;
    rc = multi_init(&p->multi, loop, settle, p);
    if (rc != 0) {
        free(p);
        return rc;
    }
    tc_list_init(&p->ready);
    tc_list_init(&p->lingering);
    uv_idle_init(loop, &p->kick);
    uv_timer_init(loop, &p->linger);
    p->kick.data = p->linger.data = p;
    p->open = 3;
    *out = p;
    return 0;
}

static void maybe_finish_close(void *arg) {
    struct transfer_pool *p = arg;

    if (--p->open > 0)
        return;
    void (*cb)(void *) = p->close_cb;
    void *cb_arg = p->close_arg;
    free(p);
    if (cb)
        cb(cb_arg);
}

static void on_handle_closed(uv_handle_t *handle) {
    maybe_finish_close(handle->data);
}

void transfer_pool_close(struct transfer_pool *p, void (*cb)(void *arg), void *arg) {
    p->close_cb = cb;
    p->close_arg = arg;
    free_lingering(p, UINT64_MAX);
    assert(p->transfers == 0);
    multi_close(&p->multi, maybe_finish_close);
    uv_close((uv_handle_t *)&p->kick, on_handle_closed);
    uv_close((uv_handle_t *)&p->linger, on_handle_closed);
}
