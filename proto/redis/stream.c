/* The transport under a Redis connection (see stream.h). Loop thread; owned by one struct tc_conn.
 *
 * Happy path: resolve -> connect (address after address) -> TLS handshake -> on_open; then reading all the time and
 * one flush a loop turn. The flusher is an idle handle: while it is active the loop does not block in poll, so bytes
 * written at any stage of a turn leave in that turn or at the start of the next one.
 * Failure: lose() tells the owner once and stops everything; only the owner's close frees. */
#include "redis/stream.h"

#include "tokencast/error.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define KEEPALIVE_SECONDS 60
#define TLS_READ_SIZE     16384     /* one TLS record's content */
#define KEEP_BYTES        (1 << 20) /* a drained buffer larger than this is given back */

static void maybe_finish(struct tc_stream *s);
static void on_sock_closed_for_next(uv_handle_t *handle);

/* Stops the activity and tells the owner, once. `err` counts only after opening: before, it is TC_ECONNECT unless the
 * fault is more specific. */
static void lose(struct tc_stream *s, int err, const char *why) {
    if (s->lost || s->closing)
        return;
    s->lost = true;
    if (err == TC_ELINK && !s->open)
        err = TC_ECONNECT;
    s->open = false;
    if (s->sock_live && !uv_is_closing(&s->sock.handle))
        uv_read_stop(&s->sock.stream);
    uv_idle_stop(&s->flusher);
    s->ev.on_lost(s->ev.arg, err, why);
}

static void lose_tls(struct tc_stream *s, int err) {
    char why[256];
    if (err == TC_ELINK)
        snprintf(why, sizeof(why), "the server ended the TLS session");
    else
        tc_tls_reason(&s->tls, why, sizeof(why));
    lose(s, err, why);
}

/* ---- writing ---- */

/* Empties a buffer, and gives a large one's memory back. */
static void clear(struct tc_buf *b) {
    if (b->cap > KEEP_BYTES)
        tc_buf_fini(b);
    else
        tc_buf_reset(b);
}

static void on_write(uv_write_t *req, int status) {
    struct tc_stream *s = req->data;
    s->writing = false;
    clear(&s->sending);
    if (s->closing || s->lost)
        return;
    if (status != 0) {
        lose(s, TC_ELINK, uv_strerror(status));
        return;
    }
    tc_stream_kick(s);
}

/* Moves what is plain through the session. 0, TC_ENOMEM or TC_ETLS. */
static int encrypt(struct tc_stream *s) {
    if (s->open && s->plain.len > 0) {
        int rc = tc_tls_write(&s->tls, s->plain.data, s->plain.len);
        if (rc)
            return rc;
        clear(&s->plain);
    }
    tc_tls_drain(&s->tls, &s->cipher);
    return tc_buf_ok(&s->cipher) ? 0 : TC_ENOMEM;
}

/* Lends what try_write left of `from` to the kernel; `from` gets the emptied buffer in exchange. */
static void write_rest(struct tc_stream *s, struct tc_buf *from, size_t done) {
    struct tc_buf empty = s->sending;
    s->sending = *from;
    *from = empty;
    uv_buf_t rest = uv_buf_init(s->sending.data + done, (unsigned)(s->sending.len - done));
    s->write.data = s;
    int rc = uv_write(&s->write, &s->sock.stream, &rest, 1, on_write);
    if (rc)
        lose(s, TC_ELINK, uv_strerror(rc));
    else
        s->writing = true;
}

static void flush(struct tc_stream *s) {
    if (s->writing) /* on_write comes back here, with all that gathers meanwhile */
        return;
    struct tc_buf *from = &s->plain;
    if (s->tls.ssl) {
        int rc = encrypt(s);
        if (rc) {
            lose_tls(s, rc);
            return;
        }
        from = &s->cipher;
    } else if (!s->open) {
        return;
    }
    if (from->len == 0)
        return;
    uv_buf_t all = uv_buf_init(from->data, (unsigned)from->len);
    int n = uv_try_write(&s->sock.stream, &all, 1);
    if (n < 0 && n != UV_EAGAIN)
        lose(s, TC_ELINK, uv_strerror(n));
    else if (n >= 0 && (size_t)n == from->len)
        clear(from);
    else
        write_rest(s, from, n > 0 ? (size_t)n : 0);
}

static void on_flush(uv_idle_t *handle) {
    struct tc_stream *s = handle->data;
    uv_idle_stop(handle);
    if (!s->closing && !s->lost)
        flush(s);
}

size_t tc_stream_pending(const struct tc_stream *s) {
    return s->plain.len + s->cipher.len + s->sending.len;
}

struct tc_buf *tc_stream_out(struct tc_stream *s) {
    assert(s->open);
    return &s->plain;
}

void tc_stream_kick(struct tc_stream *s) {
    if (!s->closing && !s->lost)
        uv_idle_start(&s->flusher, on_flush);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct tc_stream *s = handle->data;
    (void)suggested;
    *buf = uv_buf_init(s->read, sizeof(s->read));
}

static void opened(struct tc_stream *s) {
    s->open = true;
    s->ev.on_open(s->ev.arg);
}

/* Goes as far as the ciphertext at hand allows: handshake, then content. */
static void pump_tls(struct tc_stream *s) {
    int rc = 0;
    if (!s->open) {
        rc = tc_tls_handshake(&s->tls);
        flush(s); /* also the alert that tells the server why it is refused */
        if (s->lost || s->closing || rc == TC_EAGAIN)
            return;
        if (rc) {
            lose_tls(s, rc);
            return;
        }
        opened(s);
    }
    char content[TLS_READ_SIZE];
    while (!s->closing && !s->lost) {
        ssize_t n = tc_tls_read(&s->tls, content, sizeof(content));
        if (n > 0) {
            s->ev.on_data(s->ev.arg, content, (size_t)n);
            continue;
        }
        if (n == TC_EAGAIN)
            tc_stream_kick(s); /* a key update may have to be answered */
        else
            lose_tls(s, (int)n);
        return;
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct tc_stream *s = stream->data;
    if (n == 0 || s->closing || s->lost)
        return;
    if (n < 0) {
        lose(s, TC_ELINK, n == UV_EOF ? "closed by the server" : uv_strerror((int)n));
        return;
    }
    if (!s->tls.ssl) {
        s->ev.on_data(s->ev.arg, buf->base, (size_t)n);
        return;
    }
    int rc = tc_tls_feed(&s->tls, buf->base, (size_t)n);
    if (rc)
        lose(s, rc, tc_strerror(rc));
    else
        pump_tls(s);
}

/* ---- connecting ---- */

static void connected(struct tc_stream *s) {
    int rc = uv_read_start(&s->sock.stream, on_alloc, on_read);
    if (rc) {
        lose(s, TC_ELINK, uv_strerror(rc));
        return;
    }
    if (!s->target.tls) {
        opened(s);
        return;
    }
    rc = tc_tls_init(&s->tls, s->target.tls, s->target.at->host);
    if (rc)
        lose(s, rc, tc_strerror(rc));
    else
        pump_tls(s);
}

static void on_connect(uv_connect_t *req, int status) {
    struct tc_stream *s = req->data;
    if (s->closing || s->lost)
        return;
    if (status == 0) {
        connected(s);
        return;
    }
    s->last_err = status;
    if (s->tries_left > 0)
        uv_close(&s->sock.handle, on_sock_closed_for_next);
    else
        lose(s, TC_ELINK, uv_strerror(status));
}

static const struct sockaddr *address_at(const struct tc_stream *s, unsigned index) {
    const struct addrinfo *ai = s->addresses;
    while (index-- > 0)
        ai = ai->ai_next;
    return ai->ai_addr;
}

static int connect_to(struct tc_stream *s, const struct sockaddr *address) {
    int rc = uv_tcp_init(s->loop, &s->sock.tcp);
    if (rc)
        return rc;
    s->sock_live = true;
    s->sock.handle.data = s;
    s->connect.data = s;
    /* Remembered until the descriptor exists; only of benefit, so a refusal is no reason to give up. */
    (void)uv_tcp_nodelay(&s->sock.tcp, 1);
    (void)uv_tcp_keepalive(&s->sock.tcp, 1, KEEPALIVE_SECONDS);
    return uv_tcp_connect(&s->connect, &s->sock.tcp, address, on_connect);
}

static void connect_next(struct tc_stream *s) {
    unsigned count = 0;
    for (const struct addrinfo *ai = s->addresses; ai; ai = ai->ai_next)
        count++;
    s->tries_left--;
    int rc = count > 0 ? connect_to(s, address_at(s, s->next_address++ % count)) : UV_EADDRNOTAVAIL;
    if (rc)
        lose(s, TC_ELINK, uv_strerror(rc));
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *res) {
    struct tc_stream *s = req->data;
    s->resolving = false;
    s->addresses = res;
    if (s->closing) {
        maybe_finish(s);
        return;
    }
    if (status != 0 || s->lost || !res) {
        lose(s, TC_ELINK, status ? uv_strerror(status) : "the name has no address");
        return;
    }
    for (const struct addrinfo *ai = res; ai; ai = ai->ai_next)
        s->tries_left++;
    s->next_address = s->target.rotate;
    connect_next(s);
}

static int open_host(struct tc_stream *s) {
    struct sockaddr_storage address;
    memset(&address, 0, sizeof(address));
    const struct tc_endpoint *at = s->target.at;
    if (uv_ip4_addr(at->host, at->port, (struct sockaddr_in *)&address) == 0 ||
        uv_ip6_addr(at->host, at->port, (struct sockaddr_in6 *)&address) == 0)
        return connect_to(s, (const struct sockaddr *)&address);

    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    char port[16];
    snprintf(port, sizeof(port), "%d", at->port);
    s->resolve.data = s;
    int rc = uv_getaddrinfo(s->loop, &s->resolve, on_resolved, at->host, port, &hints);
    s->resolving = rc == 0;
    return rc;
}

static int open_socket(struct tc_stream *s) {
    int rc = uv_pipe_init(s->loop, &s->sock.pipe, 0);
    if (rc)
        return rc;
    s->sock_live = true;
    s->sock.handle.data = s;
    s->connect.data = s;
    uv_pipe_connect(&s->connect, &s->sock.pipe, s->target.at->path, on_connect);
    return 0;
}

void tc_stream_open(struct tc_stream *s, uv_loop_t *loop, const struct tc_stream_target *target,
                    const struct tc_stream_events *ev) {
    memset(s, 0, offsetof(struct tc_stream, read));
    s->loop = loop;
    s->target = *target;
    s->ev = *ev;
    tc_buf_init(&s->plain, 0); /* bounded by the owner, which looks at tc_stream_pending */
    tc_buf_init(&s->cipher, 0);
    tc_buf_init(&s->sending, 0);
    uv_idle_init(loop, &s->flusher); /* cannot fail */
    s->flusher.data = s;
    s->flusher_live = true;
    int rc = target->at->path[0] ? open_socket(s) : open_host(s);
    if (rc)
        lose(s, TC_ELINK, uv_strerror(rc));
}

/* ---- closing ---- */

static void maybe_finish(struct tc_stream *s) {
    if (s->resolving || s->sock_live || s->flusher_live)
        return; /* connect and write requests end before their handle's close callback */
    if (s->addresses)
        uv_freeaddrinfo(s->addresses);
    s->addresses = NULL;
    tc_tls_fini(&s->tls);
    tc_buf_fini(&s->plain);
    tc_buf_fini(&s->cipher);
    tc_buf_fini(&s->sending);
    s->close_cb(s->ev.arg);
}

static void on_sock_closed(uv_handle_t *handle) {
    struct tc_stream *s = handle->data;
    s->sock_live = false;
    maybe_finish(s);
}

static void on_sock_closed_for_next(uv_handle_t *handle) {
    struct tc_stream *s = handle->data;
    s->sock_live = false;
    if (s->closing)
        maybe_finish(s);
    else if (!s->lost)
        connect_next(s);
}

static void on_flusher_closed(uv_handle_t *handle) {
    struct tc_stream *s = handle->data;
    s->flusher_live = false;
    maybe_finish(s);
}

void tc_stream_close(struct tc_stream *s, void (*cb)(void *arg)) {
    assert(!s->closing);
    s->closing = true;
    s->close_cb = cb;
    if (s->resolving)
        uv_cancel((uv_req_t *)&s->resolve); /* in vain while it runs: then its callback is waited for */
    if (s->sock_live && !uv_is_closing(&s->sock.handle))
        uv_close(&s->sock.handle, on_sock_closed);
    uv_close((uv_handle_t *)&s->flusher, on_flusher_closed);
}
