/* A byte stream to one server on libuv: TCP or a Unix socket, plain or TLS. Writes gather in a buffer and leave once
 * a loop turn, so that pipelining costs no latency. Caller's memory; loop thread.
 *
 * open -> on_open -> on_data … -> close. Fails at any stage by exactly one on_lost (also from inside open); after it
 * nothing more is called and the owner closes. Closing is allowed inside every callback. */
#ifndef TC_REDIS_STREAM_H
#define TC_REDIS_STREAM_H

#include "base/buf.h"
#include "redis/tls.h"
#include "redis/url.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define TC_STREAM_READ_SIZE 65536

struct tc_stream_target {
    const struct tc_endpoint *at; /* borrowed until closed */
    SSL_CTX *tls;                 /* NULL = plain; shared */
    unsigned rotate;              /* which of the host's addresses is tried first (modulo) */
};

struct tc_stream_events {
    void (*on_open)(void *arg); /* connected, TLS included */
    void (*on_data)(void *arg, const char *p, size_t n);
    void (*on_lost)(void *arg, int err, const char *why); /* TC_ECONNECT before on_open, TC_ELINK after, TC_ETLS … */
    void *arg;
};

struct tc_stream {
    uv_loop_t *loop;
    struct tc_stream_target target;
    struct tc_stream_events ev;

    uv_getaddrinfo_t resolve;
    struct addrinfo *addresses; /* owned; from resolve */
    unsigned tries_left;        /* addresses not tried yet */
    unsigned next_address;      /* index of the one to try */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } sock;
    uv_connect_t connect;
    uv_idle_t flusher; /* active while something waits to be flushed in the next turn */
    uv_write_t write;

    struct tc_tls tls;
    struct tc_buf plain;   /* what the owner wrote and the kernel has not been offered */
    struct tc_buf cipher;  /* TLS: the same, encrypted */
    struct tc_buf sending; /* lent to the kernel by `write` */

    bool resolving;    /* `resolve` is outstanding */
    bool sock_live;    /* `sock` is initialised and its close callback has not run */
    bool flusher_live; /* the same of `flusher` */
    bool writing;      /* `write` is outstanding */
    bool open, lost, closing;
    void (*close_cb)(void *arg);
    int last_err; /* of the addresses tried, the last one's libuv error */

    char read[TC_STREAM_READ_SIZE];
};

/* The stream may be opened again after its close callback. */
void tc_stream_open(struct tc_stream *s, uv_loop_t *loop, const struct tc_stream_target *target,
                    const struct tc_stream_events *ev);

/* Bytes that the kernel has not taken. */
size_t tc_stream_pending(const struct tc_stream *s);

/* Append here, then kick: it leaves at the latest in the next loop turn. Only while open. */
struct tc_buf *tc_stream_out(struct tc_stream *s);
void tc_stream_kick(struct tc_stream *s);

/* cb(ev.arg) exactly once, always later; the memory is the caller's after it. Once. */
void tc_stream_close(struct tc_stream *s, void (*cb)(void *arg));

#endif
