/* A connection that has become a stream: its owner sends when it likes and is told of room and of the end. Loop thread.
 * Reading goes on only to notice that the peer leaves; a FIN counts as leaving, since no client of a stream half-closes
 * and a proxy that does has lost its client. */
#define _GNU_SOURCE /* TCP_USER_TIMEOUT */
#include "base/prefetch.h"
#include "http/conn.h"
#include "http/server.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <tokencast/error.h>

#define DISCARD_MAX (64 * 1024) /* bytes that a peer may send at a stream */

static void tune(struct http_conn *c) {
    const struct http_options *o = &c->server->opts;
    unsigned user_timeout = (unsigned)o->user_timeout_ms;
    int lowat = (int)o->notsent_lowat;
    /* Each is an improvement, none a condition. */
    if (user_timeout > 0)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &user_timeout, sizeof(user_timeout));
    if (lowat > 0)
        (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
}

static void put_head(struct http_conn *c, struct tc_buf *out, int status, const char *content_type, const char *extra) {
    reply_begin(out, status, content_type);
    tc_buf_puts(out, "Cache-Control: no-cache, no-transform\r\nX-Accel-Buffering: no\r\nConnection: close\r\n");
    if (!c->http10)
        tc_buf_puts(out, "Transfer-Encoding: chunked\r\n");
    if (extra)
        tc_buf_puts(out, extra);
    tc_buf_append(out, c->ex->extra, c->ex->extra_len);
    tc_buf_puts(out, "\r\n");
}

int http_stream_start(struct http_conn *c, int status, const char *content_type, const char *extra, struct tc_buf *head,
                      const struct http_stream_events *events, void *arg) {
    if (c->state == CONN_CLOSED || c->gone)
        return TC_EIO;
    assert(c->state == CONN_HANDLING);
    put_head(c, head, status, content_type, extra);
    if (!tc_buf_ok(head))
        return TC_ENOMEM;
    tune(c);
    reply_count(c, status);
    conn_set_state(c, CONN_STREAMING);
    c->events = events;
    c->arg = arg;
    c->discarded = 0;
    conn_drop_exchange(c);
    conn_watch(c, UV_READABLE);
    return 0;
}

void http_stream_set_arg(struct http_conn *c, void *arg) {
    c->arg = arg;
}

bool http_stream_chunked(const struct http_conn *c) {
    return !c->http10;
}

ssize_t http_stream_send(struct http_conn *c, const struct iovec *iov, int n) {
    ssize_t sent;
    if (c->state != CONN_STREAMING || c->gone)
        return TC_EIO;
    if (n == 1) {
        sent = send(c->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        union { /* sendmsg() reads only, but msghdr has no const */
            const struct iovec *c;
            struct iovec *v;
        } u = {iov};
        struct msghdr msg = {.msg_iov = u.v, .msg_iovlen = (size_t)n};
        sent = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    if (sent >= 0)
        return sent;
    return errno == EAGAIN || errno == EINTR ? TC_EAGAIN : TC_EIO;
}

void http_stream_ahead(const struct http_conn *c) {
    tc_prefetch(&c->slot, sizeof(*c) - offsetof(struct http_conn, slot));
}

void http_stream_want_write(struct http_conn *c) {
    if (c->state != CONN_STREAMING || c->gone)
        return;
    conn_watch(c, UV_READABLE | UV_WRITABLE);
}

void http_stream_end(struct http_conn *c, bool clean) {
    if (c->state != CONN_STREAMING)
        return;
    if (clean && !c->gone)
        conn_linger(c);
    else
        conn_reset(c);
}

void stream_gone(struct http_conn *c) {
    if (c->gone)
        return;
    c->gone = true;
    conn_watch(c, 0); /* a closed peer stays readable: watching on would spin */
    c->events->on_gone(c->arg);
}

/* True while the peer is there. */
static bool discard(struct http_conn *c) {
    ssize_t n = recv(c->fd, c->server->scratch, HTTP_SCRATCH, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return false;
    c->discarded += (uint32_t)n;
    return c->discarded <= DISCARD_MAX;
}

void stream_on_poll(struct http_conn *c, int status, int events) {
    if (status < 0 || ((events & UV_READABLE) && !discard(c))) {
        stream_gone(c);
        return;
    }
    if (events & UV_WRITABLE) { /* only watched for while it is owed */
        conn_watch(c, UV_READABLE);
        c->events->on_writable(c->arg);
    }
}
