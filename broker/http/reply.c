/* Whole answers: the head, one attempt to send everything at once, and the rest when the socket has room. Loop thread.
 * How it fails: without memory or peer the connection is closed, and the handler never hears of it. */
#include "http/conn.h"
#include "http/server.h"

#include <assert.h>
#include <errno.h>
#include <sys/socket.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {425, "Too Early"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *reply_reason(int status) {
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Status";
}

void reply_count(struct http_conn *c, int status) {
    if (status >= 500)
        c->server->stats.responses_5xx++;
    else if (status >= 400)
        c->server->stats.responses_4xx++;
}

void reply_begin(struct tc_buf *out, int status, const char *content_type) {
    tc_buf_printf(out, "HTTP/1.1 %d %s\r\n", status, reply_reason(status));
    if (content_type)
        tc_buf_printf(out, "Content-Type: %s\r\n", content_type);
}

static bool has_body(int status) {
    return status >= 200 && status != 204 && status != 304;
}

static void put_head(struct http_conn *c, struct tc_buf *out, int status, const char *content_type, const char *extra,
                     size_t length) {
    reply_begin(out, status, content_type);
    if (has_body(status))
        tc_buf_printf(out, "Content-Length: %zu\r\n", length);
    if (!c->keep_alive)
        tc_buf_puts(out, "Connection: close\r\n");
    else if (c->http10)
        tc_buf_puts(out, "Connection: keep-alive\r\n");
    if (extra)
        tc_buf_puts(out, extra);
    tc_buf_append(out, c->ex->extra, c->ex->extra_len);
    tc_buf_puts(out, "\r\n");
}

/* The answer is out. Inside the handler the request must stay: its caller goes on then. */
static void finish(struct http_conn *c) {
    waits_clear(&c->wait);
    if (c->in_handler)
        c->answered = true;
    else
        conn_next(c);
}

/* Sends head and body; what the socket does not take is kept. Bytes sent, or -1 when the peer is gone. */
static ssize_t send_both(struct http_conn *c, struct tc_str head, struct tc_str body) {
    union {
        const void *c;
        void *v;
    } h = {head.p}, b = {body.p}; /* sendmsg() reads only, but iovec has no const */
    struct iovec iov[2] = {{h.v, head.n}, {b.v, body.n}};
    struct msghdr msg = {.msg_iov = iov, .msg_iovlen = body.n > 0 ? 2 : 1};
    ssize_t n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    return n;
}

static void send_answer(struct http_conn *c, struct tc_str head, struct tc_str body) {
    struct tc_buf *out = &c->ex->out;
    ssize_t n = send_both(c, head, body);
    if (n < 0) {
        conn_close(c);
        return;
    }
    size_t sent = (size_t)n, in_body = sent > head.n ? sent - head.n : 0;
    if (sent == head.n + body.n) {
        finish(c);
        return;
    }
    tc_buf_init(out, 0);
    c->ex->out_done = 0;
    if (sent < head.n)
        tc_buf_append(out, head.p + sent, head.n - sent);
    if (body.n > in_body)
        tc_buf_append(out, body.p + in_body, body.n - in_body);
    if (!tc_buf_ok(out)) {
        conn_reset(c); /* half an answer must not look whole */
        return;
    }
    waits_set(&c->server->waits, &c->wait, WAIT_STALL);
    conn_watch(c, UV_WRITABLE);
}

void reply_flush(struct http_conn *c) {
    struct tc_buf *out = &c->ex->out;
    ssize_t n = send(c->fd, out->data + c->ex->out_done, out->len - c->ex->out_done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        conn_close(c);
        return;
    }
    c->ex->out_done += (size_t)n;
    if (c->ex->out_done == out->len)
        finish(c);
    else
        waits_set(&c->server->waits, &c->wait, WAIT_STALL);
}

void http_reply(struct http_conn *c, int status, const char *content_type, const char *extra, struct tc_str body) {
    struct tc_buf head;
    if (c->state == CONN_CLOSED) /* closed while the handler was on the stack */
        return;
    assert(c->state == CONN_HANDLING);
    reply_count(c, status);
    if (c->gone) {
        conn_close(c);
        return;
    }
    conn_set_state(c, CONN_REPLYING);
    c->ex->on_gone = NULL;
    if (c->server->leaving)
        c->keep_alive = false; /* shutting down: the next request goes elsewhere */
    tc_buf_init(&head, 0);
    put_head(c, &head, status, content_type, extra, body.n);
    if (c->head_only || !has_body(status))
        body.n = 0;
    if (tc_buf_ok(&head))
        send_answer(c, tc_buf_str(&head), body);
    else
        conn_close(c);
    tc_buf_fini(&head);
}

void http_on_gone(struct http_conn *c, void (*cb)(void *arg), void *arg) {
    if (c->state != CONN_HANDLING)
        return;
    c->ex->on_gone = cb;
    c->ex->gone_arg = arg;
}

void http_extra_headers(struct http_conn *c, struct tc_str lines) {
    if (c->state != CONN_HANDLING)
        return;
    assert(lines.n <= HTTP_EXTRA_MAX);
    c->ex->extra_len = lines.n <= HTTP_EXTRA_MAX ? lines.n : 0;
    memcpy(c->ex->extra, lines.p ? lines.p : "", c->ex->extra_len);
}
