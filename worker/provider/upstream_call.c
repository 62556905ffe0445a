/* One call to a provider behind HTTP. Owned by whoever started it, until upstream_call_free(); the memory goes in the
 * close callback of its timer, so that freeing is allowed inside every callback of the sink.
 *
 *            timer 0            first piece           finish reason             marker, EOF, 2 s
 *   WAITING ---------> ASKING -------------> TALKING ----------------> CLOSING ------------------> OVER
 *      ^                 |   (failure that may pass, retries left)                                  ^
 *      +-----------------+-------- any other failure, time-out ------------------------------------+
 *
 * WAITING waits for the timer (back-off), ASKING for the first token (first_token_timeout_ms), TALKING for the next
 * piece (idle_timeout_ms), CLOSING for the usage that follows the finish reason. While paused only WAITING's timer
 * runs. */
#include "provider/upstream.h"

#include "base/clock.h"
#include "base/log.h"
#include "provider/fault.h"
#include "provider/foreign.h"
#include "provider/request.h"
#include "provider/retry.h"
#include "provider/sse.h"
#include "tokencast/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_BODY_MAX  (8 * 1024)
#define WHOLE_MAX       (8 * 1024 * 1024) /* bytes of an answer that is not streamed */
#define CLOSING_MS      2000
#define LOG_EXCERPT_MAX 512

enum call_state { CALL_WAITING = 0, CALL_ASKING, CALL_TALKING, CALL_CLOSING, CALL_OVER };
enum body_form { FORM_UNKNOWN = 0, FORM_SSE, FORM_WHOLE };

struct upstream_call {
    struct provider_call base;
    struct upstream *up;
    struct provider_sink sink;
    void *arg;
    char gen[72];                 /* for logs */
    const struct tc_trace *trace; /* borrowed */
    char *request;                /* the body, NULL once it is not needed any more */
    char *key;                    /* of the present try, to keep it out of messages; NULL = none */
    enum call_state state;
    bool paused, freed;
    unsigned retries;
    uv_timer_t timer;
    struct transfer *transfer; /* NULL between tries */
    enum body_form form;
    struct sse sse;
    struct tc_buf body; /* of an error, or of an answer that is not streamed */
    struct answer answer;
};

static void on_timer(uv_timer_t *timer);
static void fail(struct upstream_call *c, struct provider_end *end, bool retry);

static int64_t state_timeout(const struct upstream_call *c) {
    switch (c->state) {
    case CALL_ASKING:
        return c->up->opts.first_token_timeout_ms;
    case CALL_TALKING:
        return c->up->opts.idle_timeout_ms;
    case CALL_CLOSING:
        return CLOSING_MS;
    default:
        return 0;
    }
}

/* The time-out of the present state, from now. */
static void arm(struct upstream_call *c) {
    int64_t ms = state_timeout(c);

    if (c->paused || ms <= 0)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
}

/* Every way forward in the drawing above but the one back to WAITING passes here. */
static void enter(struct upstream_call *c, enum call_state state) {
    c->state = state;
    arm(c);
}

static void end_call(struct upstream_call *c, const struct provider_end *end) {
    uv_timer_stop(&c->timer);
    c->state = CALL_OVER;
    /* A whole answer leaves a connection that is good for another one. */
    if (end->code)
        transfer_free(c->transfer);
    else
        transfer_release(c->transfer);
    c->transfer = NULL;
    c->sink.on_end(c->arg, end);
}

static void succeed(struct upstream_call *c) {
    struct provider_end end = {.reason = c->answer.reason, .usage = c->answer.usage};
    end_call(c, &end);
}

/* ---- tries ---- */

static void clear_try(struct upstream_call *c) {
    transfer_free(c->transfer);
    c->transfer = NULL;
    free(c->key);
    c->key = NULL;
    c->form = FORM_UNKNOWN;
    sse_reset(&c->sse);
    tc_buf_reset(&c->body);
    c->body.max = ERROR_BODY_MAX;
    answer_reset(&c->answer);
}

static size_t on_body(void *arg, struct tc_str bytes);
static void on_done(void *arg, int err);

static int send_request(struct upstream_call *c) {
    static const struct transfer_events events = {.on_body = on_body, .on_done = on_done};
    struct tc_buf headers;

    tc_buf_init(&headers, 0);
    tc_buf_puts(&headers, "Content-Type: application/json\nAccept: text/event-stream, application/json\n"
                          "User-Agent: tokencast/" TC_VERSION "\nExpect:\n");
    c->up->dialect->headers(&headers, c->key);
    tc_trace_put_headers(c->trace, &headers);
    struct transfer_request req = {
        .url = c->up->url.data,
        .headers = tc_buf_str(&headers),
        .body = tc_str_from(c->request),
        .connect_timeout_ms = c->up->opts.connect_timeout_ms,
    };
    int rc = TC_ENOMEM;
    if (tc_buf_ok(&headers))
        rc = transfer_start(&c->transfer, c->up->pool, &req, &events, c);
    tc_buf_fini(&headers);
    return rc;
}

static void begin_try(struct upstream_call *c) {
    struct provider_end end = {.reason = "error", .recoverable = true};

    clear_try(c);
    if (upstream_read_key(c->up, &c->key) != 0) {
        end.code = "upstream_key";
        end.message = "The worker cannot read its key for the model server.";
        fail(c, &end, false);
        return;
    }
    tc_log(tc_trace_log_level(c->trace), "asking the model server", TC_LS("gen", c->gen), TC_LI("retry", c->retries),
           TC_LTRACE(c->trace));
    int rc = send_request(c);
    if (rc != 0) {
        tc_log(TC_LOG_ERROR, "cannot send the request", TC_LS("gen", c->gen), TC_LERR(rc), TC_LTRACE(c->trace));
        end.code = "upstream_connect";
        end.message = "The worker cannot send the request to the model server.";
        fail(c, &end, false);
        return;
    }
    if (c->paused)
        transfer_hold(c->transfer);
    enter(c, CALL_ASKING);
}

/* The one place that decides between another try and the end. */
static void fail(struct upstream_call *c, struct provider_end *end, bool retry) {
    const struct provider_options *o = &c->up->opts;
    char why[ANSWER_MESSAGE_MAX];

    if (!retry || c->answer.spoke || (int64_t)c->retries >= o->max_retries) {
        tc_log(TC_LOG_WARN, "the model server failed", TC_LS("gen", c->gen), TC_LS("code", end->code),
               TC_LS("message", end->message), TC_LI("retries", c->retries), TC_LTRACE(c->trace));
        end_call(c, end);
        return;
    }
    c->retries++;
    uint64_t delay = retry_delay_ms(c->retries, o->backoff_min_ms, o->backoff_max_ms, end->retry_after_ms);
    tc_log(TC_LOG_INFO, "will ask the model server again", TC_LS("gen", c->gen), TC_LS("why", end->message),
           TC_LI("delay_ms", delay), TC_LI("retry", c->retries), TC_LTRACE(c->trace));
    /* The words may lie in what the next line clears. */
    snprintf(why, sizeof(why), "%s", end->message);
    clear_try(c);
    c->state = CALL_WAITING;
    uv_timer_start(&c->timer, on_timer, delay, 0);
    c->sink.on_wait(c->arg, why, delay, (int)c->retries);
}

/* ---- how a try fails ---- */

static void fail_simply(struct upstream_call *c, const char *code, const char *message, bool recoverable, bool retry) {
    struct provider_end end = {.reason = "error", .code = code, .message = message, .recoverable = recoverable};
    fail(c, &end, retry);
}

/* The upstream told an error inside a stream, or broke the format. */
static void fail_by_answer(struct upstream_call *c) {
    struct tc_buf text;

    tc_buf_init(&text, 0);
    fault_scrub(&text, tc_str_from(c->answer.message), c->key, ANSWER_MESSAGE_MAX);
    tc_buf_putc(&text, 0);
    const char *words = tc_buf_ok(&text) ? text.data : "The model server reported an error.";
    fail_simply(c, c->answer.code, words, c->answer.recoverable, c->answer.retry);
    tc_buf_fini(&text);
}

static void log_body(struct upstream_call *c, long status) {
    struct tc_buf text;

    tc_buf_init(&text, 0);
    fault_scrub(&text, tc_buf_str(&c->body), c->key, LOG_EXCERPT_MAX);
    tc_log(TC_LOG_WARN, "the model server refused", TC_LS("gen", c->gen), TC_LI("status", status),
           TC_LSTR("body", tc_buf_str(&text)), TC_LTRACE(c->trace));
    tc_buf_fini(&text);
}

static void fail_by_status(struct upstream_call *c) {
    const struct transfer_head *head = transfer_head(c->transfer);
    bool again = fault_status_retries(head->status);
    struct tc_buf text;

    log_body(c, head->status);
    tc_buf_init(&text, 0);
    fault_describe(&text, head->status, tc_buf_str(&c->body), c->key);
    tc_buf_putc(&text, 0);
    struct provider_end end = {
        .reason = "error",
        .code = "upstream_status",
        .message = tc_buf_ok(&text) ? text.data : "The model server refused.",
        .recoverable = again,
        .refused = fault_status_refuses(head->status),
        .retry_after_ms = retry_asked_ms(head->retry_after, head->retry_after_ms, tc_now_us() / 1000000),
    };
    fail(c, &end, again);
    tc_buf_fini(&text);
}

static void fail_by_transport(struct upstream_call *c, int err) {
    if (err == TC_ETOOLARGE)
        fail_simply(c, "upstream_error", "The model server sent too many headers.", false, false);
    else if (err == TC_ETLS)
        fail_simply(c, "upstream_connect", "The model server's certificate is not trusted.", false, false);
    else if (err == TC_ECONNECT || err == TC_ETIMEOUT)
        fail_simply(c, "upstream_connect", "The model server cannot be reached.", true, true);
    else if (transfer_head(c->transfer)->status == 0)
        fail_simply(c, "upstream_connect", "The model server closed the connection without an answer.", true, true);
    else
        fail_simply(c, "upstream_eof", "The model server closed the connection before the answer was whole.", true,
                    true);
}

/* ---- reading ---- */

static bool on_event(void *arg, struct tc_str name, struct tc_str data) {
    struct upstream_call *c = arg;

    c->up->dialect->event(&c->answer, name, data);
    return !c->freed && !c->paused && !c->answer.failed && !c->answer.ended;
}

/* What the bytes just read have changed. */
static void look(struct upstream_call *c) {
    struct answer *a = &c->answer;

    if (c->freed || c->state == CALL_OVER)
        return;
    if (a->failed) {
        fail_by_answer(c);
    } else if (a->ended) {
        if (a->finish_count > 0)
            succeed(c);
        else
            fail_simply(c, "upstream_eof", "The model server ended the answer without saying how.", true, true);
    } else if (answer_finished(a)) {
        if (c->state != CALL_CLOSING)
            enter(c, CALL_CLOSING);
    } else if (a->alive && a->spoke) {
        free(c->request); /* no retry from here on */
        c->request = NULL;
        enter(c, CALL_TALKING);
    }
    a->alive = false;
}

/* Some servers ignore `stream: true` and send one JSON object: no SSE line begins with a brace. Blank lines and a BOM
 * before it decide nothing. Returns how many bytes came before that. */
static size_t sniff(struct upstream_call *c, struct tc_str bytes) {
    size_t i = 0;

    while (i < bytes.n && strchr("\xef\xbb\xbf \t\r\n", bytes.p[i]) && bytes.p[i])
        i++;
    if (i < bytes.n) {
        c->form = bytes.p[i] == '{' ? FORM_WHOLE : FORM_SSE;
        c->body.max = c->form == FORM_WHOLE ? WHOLE_MAX : ERROR_BODY_MAX;
    }
    return i;
}

static size_t read_stream(struct upstream_call *c, struct tc_str bytes) {
    size_t used = bytes.n;

    if (sse_feed(&c->sse, bytes, &used) != 0)
        answer_broken(&c->answer, "The model server sent an event that is too large.");
    look(c);
    return used;
}

static size_t read_whole(struct upstream_call *c, struct tc_str bytes) {
    tc_buf_put_str(&c->body, bytes);
    if (!tc_buf_ok(&c->body))
        fail_simply(c, "upstream_error", "The model server's answer is too large.", false, false);
    return bytes.n;
}

/* Enough of an error's body is there when its bound is reached: the rest is not waited for. */
static size_t read_error(struct upstream_call *c, struct tc_str bytes) {
    size_t room = ERROR_BODY_MAX - c->body.len;

    tc_buf_append(&c->body, bytes.p, bytes.n < room ? bytes.n : room);
    if (bytes.n >= room)
        fail_by_status(c);
    return bytes.n;
}

static bool has_status(const struct upstream_call *c) {
    return c->transfer && transfer_head(c->transfer)->status != 0;
}

static bool is_success(const struct upstream_call *c) {
    long status = transfer_head(c->transfer)->status;
    return status >= 200 && status <= 299;
}

static size_t on_body(void *arg, struct tc_str bytes) {
    struct upstream_call *c = arg;

    if (!is_success(c))
        return read_error(c, bytes);
    if (c->form == FORM_UNKNOWN) {
        size_t blank = sniff(c, bytes);
        if (blank > 0)
            return blank;
    }
    return c->form == FORM_WHOLE ? read_whole(c, bytes) : read_stream(c, bytes);
}

static void end_whole(struct upstream_call *c) {
    json_t *root = foreign_json(tc_buf_str(&c->body));

    if (root)
        c->up->dialect->whole(&c->answer, root);
    else
        answer_broken(&c->answer, "The model server sent an answer that is not JSON.");
    json_decref(root);
    look(c);
}

static void on_done(void *arg, int err) {
    struct upstream_call *c = arg;

    if (err == TC_ETOOLARGE || !has_status(c)) {
        fail_by_transport(c, err);
        return;
    }
    if (!is_success(c)) {
        fail_by_status(c); /* whether or not its body is whole */
        return;
    }
    if (c->form == FORM_WHOLE && err == 0) {
        end_whole(c);
        return;
    }
    sse_finish(&c->sse);
    look(c);
    if (c->freed || c->state == CALL_OVER || c->state == CALL_WAITING)
        return;
    if (answer_finished(&c->answer))
        succeed(c);
    else
        fail_by_transport(c, TC_ELINK);
}

static void on_timer(uv_timer_t *timer) {
    struct upstream_call *c = timer->data;

    switch (c->state) {
    case CALL_WAITING:
        begin_try(c);
        return;
    case CALL_ASKING:
        if (has_status(c) && !is_success(c))
            fail_by_status(c); /* the rest of an error's body did not come */
        else
            fail_simply(c, "upstream_timeout", "The model server did not begin to answer in time.", true, false);
        return;
    case CALL_TALKING:
        fail_simply(c, "upstream_timeout", "The model server stopped in the middle of the answer.", true, false);
        return;
    case CALL_CLOSING:
        succeed(c);
        return;
    case CALL_OVER:
        return;
    }
}

/* ---- the call ---- */

int upstream_call_start(struct provider_call **out, struct provider *p, json_t *request, struct tc_str prefix,
                        const char *gen, const struct tc_trace *trace, const struct provider_sink *sink, void *arg) {
    struct upstream *u = TC_CONTAINER_OF(p, struct upstream, base);
    struct upstream_call *c = calloc(1, sizeof(*c));

    if (!c)
        return TC_ENOMEM;
    c->up = u;
    c->sink = *sink;
    c->arg = arg;
    c->trace = trace;
    snprintf(c->gen, sizeof(c->gen), "%s", gen ? gen : "");
    int rc = upstream_body(u, &c->request, request, prefix);
    if (rc != 0) {
        free(c);
        return rc;
    }
    tc_buf_init(&c->body, ERROR_BODY_MAX);
    sse_init(&c->sse, on_event, c);
    answer_init(&c->answer, &c->sink, arg, c->gen, u->dialect->parallel ? request_choices(request) : 1);
    uv_timer_init(u->loop, &c->timer);
    c->timer.data = c;
    u->calls++;
    /* The first try begins from the loop, like every other: whatever it finds is told by a callback. */
    uv_timer_start(&c->timer, on_timer, 0, 0);
    *out = &c->base;
    return 0;
}

void upstream_call_pause(struct provider_call *base) {
    struct upstream_call *c = TC_CONTAINER_OF(base, struct upstream_call, base);

    if (c->paused)
        return;
    c->paused = true;
    if (c->transfer)
        transfer_hold(c->transfer);
    if (c->state != CALL_WAITING)
        uv_timer_stop(&c->timer);
}

void upstream_call_resume(struct provider_call *base) {
    struct upstream_call *c = TC_CONTAINER_OF(base, struct upstream_call, base);

    if (!c->paused)
        return;
    c->paused = false;
    if (c->transfer)
        transfer_unhold(c->transfer);
    if (c->state != CALL_WAITING)
        arm(c);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct upstream_call *c = handle->data;
    struct upstream *u = c->up;

    sse_fini(&c->sse);
    tc_buf_fini(&c->body);
    answer_fini(&c->answer);
    free(c->request);
    free(c->key);
    free(c);
    upstream_call_gone(u);
}

void upstream_call_free(struct provider_call *base) {
    struct upstream_call *c = TC_CONTAINER_OF(base, struct upstream_call, base);

    if (c->freed)
        return;
    c->freed = true;
    c->answer.muted = true;
    transfer_free(c->transfer);
    c->transfer = NULL;
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
