/* One connection: reading requests, handing them over, and every way of closing. The drawing is in conn.h. Loop thread.
 *
 * A handler is called from on_poll alone and once an event of the loop: a pipelined next request waits for the socket
 * to report that it is writable, which it does in the next turn, so that no peer keeps the loop for itself. */
#include "http/conn.h"

#include "http/batch.h"
#include "http/server.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINGER_DISCARD_MAX (1024 * 1024)

#define MOVE(to) (1u << CONN_##to)
static const uint8_t moves[] = {
    [CONN_READING] = MOVE(HANDLING) | MOVE(LINGERING) | MOVE(CLOSED),
    [CONN_HANDLING] = MOVE(REPLYING) | MOVE(STREAMING) | MOVE(CLOSED),
    [CONN_REPLYING] = MOVE(READING) | MOVE(LINGERING) | MOVE(CLOSED),
    [CONN_STREAMING] = MOVE(LINGERING) | MOVE(CLOSED),
    [CONN_LINGERING] = MOVE(CLOSED),
    [CONN_CLOSED] = 0,
};

static bool is_answering(const struct http_conn *c) {
    return c->state == CONN_HANDLING || c->state == CONN_REPLYING;
}

void conn_set_state(struct http_conn *c, enum conn_state to) {
    bool allowed = (moves[c->state] & (1u << to)) != 0;
    assert(allowed);
    (void)allowed;
    c->server->stats.answering -= is_answering(c);
    c->state = (uint8_t)to;
    c->server->stats.answering += is_answering(c);
}

/* ---- closing ---- */

static void exchange_free(struct http_conn *c) {
    if (c->ex == NULL)
        return;
    request_fini(&c->ex->request);
    tc_buf_fini(&c->ex->out);
    free(c->ex);
    c->ex = NULL;
}

void conn_drop_exchange(struct http_conn *c) {
    if (!c->in_handler)
        exchange_free(c);
}

static void on_closed(uv_handle_t *handle) {
    struct http_conn *c = handle->data;
    struct http_server *s = c->server;
    exchange_free(c);
    free(c);
    server_conn_freed(s);
}

void conn_close(struct http_conn *c) {
    struct http_server *s = c->server;
    if (c->state == CONN_CLOSED)
        return;
    conn_set_state(c, CONN_CLOSED);
    waits_clear(&c->wait);
    tc_list_remove(&c->node);
    address_leave(&s->addresses, c->address);
    c->address = NULL;
    if (c->counted)
        s->stats.connections--;
    else
        s->turning_away--;
    uv_close((uv_handle_t *)&c->poll, on_closed);
    http_batch_forget(s->opts.batch, c);
    (void)close(c->fd);
    c->fd = -1;
}

void conn_reset(struct http_conn *c) {
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (c->state != CONN_CLOSED)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    conn_close(c);
}

void conn_linger(struct http_conn *c) {
    conn_set_state(c, CONN_LINGERING);
    exchange_free(c);
    (void)shutdown(c->fd, SHUT_WR);
    c->discarded = 0;
    waits_set(&c->server->waits, &c->wait, WAIT_LINGER);
    conn_watch(c, UV_READABLE);
}

static void linger_on_readable(struct http_conn *c) {
    ssize_t n = recv(c->fd, c->server->scratch, HTTP_SCRATCH, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && (c->discarded += (uint32_t)n) <= LINGER_DISCARD_MAX)
        return;
    conn_close(c);
}

/* ---- handing over and answering ---- */

/* The peer left while the handler works. */
static void handling_gone(struct http_conn *c) {
    void (*cb)(void *arg) = c->ex->on_gone;
    void *arg = c->ex->gone_arg;
    c->gone = true;
    if (cb == NULL) { /* nobody to tell: the handler will answer a connection that throws the answer away */
        conn_watch(c, 0);
        return;
    }
    c->ex->on_gone = NULL;
    conn_close(c);
    cb(arg);
}

void conn_abandon(struct http_conn *c) {
    switch ((enum conn_state)c->state) {
    case CONN_HANDLING:
        if (c->ex->on_gone)
            handling_gone(c);
        else
            conn_close(c);
        return;
    case CONN_STREAMING:
        stream_gone(c);
        return;
    case CONN_READING:
    case CONN_REPLYING:
    case CONN_LINGERING:
    case CONN_CLOSED:
        conn_close(c);
        return;
    }
}

static void hand_over(struct http_conn *c) {
    struct http_server *s = c->server;
    const struct http_request *req = &c->ex->request.parsed;
    s->stats.requests++;
    c->http10 = req->http10;
    c->head_only = req->method == HTTP_M_HEAD;
    c->keep_alive = c->ex->request.head.keep_alive;
    waits_clear(&c->wait);
    conn_set_state(c, CONN_HANDLING);
    c->in_handler = true;
    s->handler(s->arg, c, req);
    c->in_handler = false;
    if (c->state == CONN_HANDLING) /* it will answer later */
        conn_watch(c, UV_DISCONNECT);
    else if (c->state == CONN_STREAMING)
        exchange_free(c);
    else if (c->answered)
        conn_next(c);
}

void conn_refuse(struct http_conn *c, int status, const char *why) {
    struct http_stats *stats = &c->server->stats;
    if (status == 408)
        stats->timeouts++;
    else
        stats->bad_requests++;
    waits_clear(&c->wait);
    c->http10 = c->head_only = c->keep_alive = false;
    conn_set_state(c, CONN_HANDLING);
    http_problem(c, status, NULL, reply_reason(status), why);
}

void conn_next(struct http_conn *c) {
    struct exchange *ex = c->ex;
    c->answered = false;
    if (c->state == CONN_CLOSED)
        return;
    if (!c->keep_alive) {
        conn_linger(c);
        return;
    }
    conn_set_state(c, CONN_READING);
    if (request_next(&ex->request)) {
        tc_buf_fini(&ex->out);
        ex->out_done = ex->extra_len = 0;
        ex->on_gone = NULL;
        waits_set(&c->server->waits, &c->wait, WAIT_HEADER);
        conn_watch(c, UV_WRITABLE);
        return;
    }
    exchange_free(c);
    waits_set(&c->server->waits, &c->wait, WAIT_IDLE);
    conn_watch(c, UV_READABLE);
}

/* ---- reading ---- */

static bool send_continue(struct http_conn *c) {
    static const struct tc_str line = {"HTTP/1.1 100 Continue\r\n\r\n", 25};
    /* Earlier answers went out in full, so the socket has room for it; if not, the peer is not worth a buffer. */
    return send(c->fd, line.p, line.n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)line.n;
}

static void parse(struct http_conn *c) {
    struct request *r = &c->ex->request;
    bool had_head = r->phase != REQUEST_HEAD;
    int rc = request_parse(r);
    if (rc == 1) {
        hand_over(c);
        return;
    }
    if (rc != 0) {
        conn_refuse(c, rc, r->why);
        return;
    }
    if (!had_head && r->phase != REQUEST_HEAD) {
        waits_set(&c->server->waits, &c->wait, WAIT_BODY);
        if (request_wants_continue(r) && !send_continue(c)) {
            conn_close(c);
            return;
        }
    }
    conn_watch(c, UV_READABLE);
}

static bool exchange_begin(struct http_conn *c) {
    const struct http_options *o = &c->server->opts;
    c->ex = calloc(1, sizeof(*c->ex));
    if (c->ex == NULL)
        return false;
    request_init(&c->ex->request, (size_t)o->max_header_bytes, (size_t)o->max_body_bytes);
    return true;
}

static void reading_on_readable(struct http_conn *c) {
    size_t room = c->ex ? request_room(&c->ex->request) : HTTP_SCRATCH;
    size_t whole = (size_t)(c->server->opts.max_header_bytes + c->server->opts.max_body_bytes) + 1;
    room = room < whole ? room : whole;
    ssize_t n = recv(c->fd, c->server->scratch, room < HTTP_SCRATCH ? room : HTTP_SCRATCH, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        conn_close(c);
        return;
    }
    if (c->ex == NULL) {
        if (!exchange_begin(c)) {
            conn_close(c);
            return;
        }
        waits_set(&c->server->waits, &c->wait, WAIT_HEADER);
    }
    if (request_append(&c->ex->request, c->server->scratch, (size_t)n) < 0)
        conn_close(c);
    else
        parse(c);
}

static void reading_on_poll(struct http_conn *c, int status, int events) {
    if (status < 0)
        conn_close(c);
    else if (events & UV_READABLE)
        reading_on_readable(c);
    else if (events & UV_WRITABLE)
        parse(c); /* the bytes of a pipelined request */
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct http_conn *c = poll->data;
    if (status < 0)
        c->watching = 0; /* libuv stopped it */
    switch ((enum conn_state)c->state) {
    case CONN_READING:
        reading_on_poll(c, status, events);
        return;
    case CONN_HANDLING:
        handling_gone(c);
        return;
    case CONN_REPLYING:
        if (status < 0)
            conn_close(c);
        else
            reply_flush(c);
        return;
    case CONN_STREAMING:
        stream_on_poll(c, status, events);
        return;
    case CONN_LINGERING:
        linger_on_readable(c);
        return;
    case CONN_CLOSED:
        return;
    }
}

void conn_watch(struct http_conn *c, int events) {
    if (c->watching == events || c->state == CONN_CLOSED)
        return;
    c->watching = (uint8_t)events;
    if (events)
        (void)uv_poll_start(&c->poll, events, on_poll);
    else
        (void)uv_poll_stop(&c->poll);
}

void conn_on_wait(struct http_conn *c) {
    bool began = c->ex != NULL;
    if (c->state == CONN_READING && began) {
        conn_refuse(c, 408, "the request did not arrive in time");
    } else if (c->state == CONN_REPLYING) {
        c->server->stats.timeouts++;
        conn_reset(c);
    } else {
        conn_close(c); /* idle, or it never said a word, or it lingers */
    }
}

/* ---- beginning ---- */

struct http_conn *conn_create(struct http_server *s, int fd) {
    const int on = 1;
    struct http_conn *c = calloc(1, sizeof(*c));
    if (c == NULL || uv_poll_init(s->loop, &c->poll, fd) != 0) {
        free(c);
        (void)close(fd);
        return NULL;
    }
    /* Events are small and each is wanted at once. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    c->poll.data = c;
    c->server = s;
    c->fd = fd;
    s->alive++;
    tc_list_add_tail(&s->conns, &c->node);
    return c;
}

void conn_turn_away(struct http_conn *c, struct tc_str answer) {
    c->server->turning_away++;
    (void)!send(c->fd, answer.p, answer.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    conn_linger(c);
}

void conn_start(struct http_conn *c) {
    c->counted = true;
    c->server->stats.connections++;
    waits_set(&c->server->waits, &c->wait, WAIT_HEADER);
    conn_watch(c, UV_READABLE);
}
