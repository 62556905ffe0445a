/* The broker's HTTP/1.1 server on one libuv loop: own descriptors under uv_poll_t, so that a stream costs one send() an
 * event and a few hundred bytes. Loop thread only; one server a loop, SO_REUSEPORT between loops.
 *
 * A connection reads a request whole (bounded in bytes and time), calls the handler, and waits until the handler
 * answers with http_reply() (the connection then serves the next request), or takes it over with http_stream_start()
 * (then it belongs to the stream until http_stream_end()). A handler may answer later; it must ask for on_gone to
 * learn that the peer left meanwhile. Handlers run from the loop, never from inside one of these functions. */
#ifndef BROKER_HTTP_HTTP_H
#define BROKER_HTTP_HTTP_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <uv.h>

struct http_server;
struct http_conn;
struct http_batch;

struct http_options {
    const char *listen;        /* HOST:PORT; port 0 = any free one (see http_server_port) */
    bool reuse_port;           /* several loops share the port */
    int64_t max_connections;   /* on this loop; beyond: the newest is answered 503 and closed */
    int64_t max_per_address;   /* 0 = no bound; beyond: 429. An IPv6 peer counts by its /64 */
    int64_t max_header_bytes;  /* request line and headers; beyond: 431 (414 if the line alone) */
    int64_t max_body_bytes;    /* beyond: 413 */
    int64_t header_timeout_ms; /* from the first byte (or accept) to the end of the headers; beyond: 408 */
    int64_t body_timeout_ms;   /* for the body; beyond: 408 */
    int64_t keepalive_ms;      /* idle between requests; then closed */
    int64_t user_timeout_ms;   /* TCP_USER_TIMEOUT on streams: a peer that acknowledges or reads nothing is reaped */
    int64_t notsent_lowat;     /* TCP_NOTSENT_LOWAT on streams, bytes; 0 = leave */
    struct http_batch *batch;  /* streams may be sent through it; borrowed, outlives the server; NULL = none */
};

struct http_stats { /* gauges and counters for metrics */
    uint64_t accepted, requests, connections, refused_full, refused_address, accept_paused;
    uint64_t refused_memory, refused_descriptors;
    uint64_t answering; /* gauge: requests that are not answered to the end */
    uint64_t bad_requests, timeouts, responses_4xx, responses_5xx;
};

enum http_method { HTTP_M_GET, HTTP_M_HEAD, HTTP_M_POST, HTTP_M_PUT, HTTP_M_DELETE, HTTP_M_OPTIONS, HTTP_M_OTHER };

#define HTTP_MAX_HEADERS 64

struct http_field {
    struct tc_str name;  /* lower-cased in place */
    struct tc_str value; /* trimmed */
};

/* Borrowed by handlers until they answer. */
struct http_request {
    enum http_method method;
    struct tc_str path;  /* percent-encoded, without the query */
    struct tc_str query; /* without '?' */
    struct tc_str body;
    bool http10;
    struct http_field fields[HTTP_MAX_HEADERS];
    size_t field_count;
};

typedef void (*http_handler)(void *arg, struct http_conn *conn, const struct http_request *req);

TC_MUST_USE int http_server_create(struct http_server **out, uv_loop_t *loop, const struct http_options *opts,
                                   http_handler handler, void *arg);
int http_server_port(const struct http_server *s);
const struct http_stats *http_server_stats(const struct http_server *s);
/* From now on every answer is the last one of its connection. */
void http_server_leave(struct http_server *s);
/* Memory is short: connections that come are answered 503 and closed. */
void http_server_set_full(struct http_server *s, bool full);
void http_server_stop_accepting(struct http_server *s); /* closes the listener; connections live on; idempotent */
/* Closes the listener and every connection (streams get on_gone); cb once when all is closed, the memory is gone. */
void http_server_close(struct http_server *s, void (*cb)(void *arg), void *arg);

/* Value of a header by its lower-case name; n = 0 and p = NULL if absent. */
struct tc_str http_header(const struct http_request *req, const char *name);
/* Decodes query parameter `name` into out (NUL-terminated). Length, or TC_ENOTFOUND, TC_ETOOLARGE, TC_ESYNTAX (bad %).
 */
int http_query(struct tc_str query, const char *name, char *out, size_t out_size);
/* true if the Accept header names `type` ("text/event-stream") with a non-zero q; wildcards do not count. */
bool http_accepts(const struct http_request *req, const char *type);

/* Called once if the peer goes (or the server closes) before the answer; conn must not be used afterwards. Without it,
 * conn stays good for one answer that is thrown away, unless the server closes. */
void http_on_gone(struct http_conn *conn, void (*cb)(void *arg), void *arg);

/* Headers that every answer on this connection gets besides those of the answer (CORS), as ready lines with CRLF; at
 * most 512 bytes, copied; cleared after the answer. */
void http_extra_headers(struct http_conn *conn, struct tc_str lines);

/* A whole answer; content_type NULL for none (204). extra: ready header lines or NULL. HEAD sends no body. Never fails
 * to the caller: a connection without memory or peer is closed. */
void http_reply(struct http_conn *conn, int status, const char *content_type, const char *extra, struct tc_str body);
/* application/problem+json (RFC 9457): {"type":"about:blank"|"/problems/<slug>","title","status","detail"}. */
void http_problem(struct http_conn *conn, int status, const char *slug, const char *title, const char *detail);

struct http_stream_events {
    void (*on_writable)(void *arg); /* after http_stream_want_write(); once each */
    void (*on_gone)(void *arg);     /* the peer left or the server closes: call http_stream_end(conn, false) */
};

/* Turns the connection into a stream: appends the response head (status line, Content-Type, Cache-Control: no-cache,
 * no-transform, X-Accel-Buffering: no, Connection: close, Transfer-Encoding: chunked unless HTTP/1.0, extra lines) to
 * `head`, which the caller sends together with its first bytes; sets TCP_NODELAY, TCP_NOTSENT_LOWAT, TCP_USER_TIMEOUT;
 * frees parser and buffers. The caller frames chunks itself if http_stream_chunked(). `events` is static. TC_ENOMEM or
 * TC_EIO (the peer left): nothing has changed, the connection still wants its http_reply() or http_problem(). Not for
 * HEAD requests. */
TC_MUST_USE int http_stream_start(struct http_conn *conn, int status, const char *content_type, const char *extra,
                                  struct tc_buf *head, const struct http_stream_events *events, void *arg);
/* Changes the argument of the events. */
void http_stream_set_arg(struct http_conn *conn, void *arg);
bool http_stream_chunked(const struct http_conn *conn);
/* One send()/sendmsg() without blocking. Bytes taken (may be fewer), TC_EAGAIN, or TC_EIO when the peer is gone. */
ssize_t http_stream_send(struct http_conn *conn, const struct iovec *iov, int n);
void http_stream_ahead(const struct http_conn *conn); /* a send is about to come (base/prefetch.h) */
void http_stream_want_write(struct http_conn *conn);
/* The stream is over and conn is no longer the caller's. clean: FIN after what was sent; else RST (an unfinished body
 * must not look finished). No callback follows. Allowed inside the callbacks. */
void http_stream_end(struct http_conn *conn, bool clean);

#endif
