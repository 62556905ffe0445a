/* One client connection (private to http/). Loop thread; owned by its server, freed in its poll handle's close
 * callback.
 *
 *                    ┌──────────────────── next request ───────────────────┐
 *                    v                                                     │
 *   accept ──> READING ──request──> HANDLING ──http_reply──> REPLYING ─────┤
 *                │ │                 │    │                     │          │ last answer
 *                │ └─ refused ───────┼────┼─────────────────────┘          v
 *                │                   │    └─http_stream_start─> STREAMING ──clean──> LINGERING
 *                └── peer gone ──────┴──────── gone, end ──────────┴──> CLOSED <────────┘
 *
 * READING waits for bytes (WAIT_HEADER, WAIT_BODY, WAIT_IDLE), HANDLING for the handler without a time limit, REPLYING
 * for room in the socket (WAIT_STALL), STREAMING for the stream's owner, LINGERING for the peer's FIN (WAIT_LINGER), so
 * that unread bytes do not turn our close into a reset that takes the answer with it.
 *
 * Memory: READING without bytes, STREAMING and LINGERING hold this struct alone; the rest hold an exchange too. */
#ifndef BROKER_HTTP_CONN_H
#define BROKER_HTTP_CONN_H

#include "base/buf.h"
#include "base/list.h"
#include "http/address.h"
#include "http/http.h"
#include "http/request.h"
#include "http/wait.h"

#define HTTP_EXTRA_MAX 512

enum conn_state { CONN_READING = 0, CONN_HANDLING, CONN_REPLYING, CONN_STREAMING, CONN_LINGERING, CONN_CLOSED };

/* What a request needs from its first byte to the end of its answer. */
struct exchange {
    struct request request;
    struct tc_buf out; /* the rest of an answer that the socket did not take at once */
    size_t out_done;   /* bytes of it sent */
    char extra[HTTP_EXTRA_MAX];
    size_t extra_len;
    void (*on_gone)(void *arg);
    void *gone_arg;
};

struct http_conn {
    uv_poll_t poll; /* on fd */
    struct http_server *server;
    struct exchange *ex;                     /* owned; NULL while none is under way */
    const struct http_stream_events *events; /* STREAMING */
    void *arg;                               /* of events */
    struct http_address *address;            /* counted in it; NULL if nobody counts */
    struct tc_list node;                     /* in the server's conns */
    struct wait wait;                        /* the deadline, if any */
    uint32_t slot;                           /* in the table of the batch, + 1; 0 = none */
    uint32_t discarded;                      /* bytes read only to be thrown away */
    int fd;                                  /* owned */
    uint8_t state;                           /* enum conn_state; set by conn_set_state() alone */
    uint8_t watching;                        /* UV_READABLE… as last given to uv_poll_start() */
    bool counted : 1;                        /* in stats.connections */
    bool http10 : 1;                         /* of the request in hand */
    bool head_only : 1;                      /* it was HEAD */
    bool keep_alive : 1;                     /* after its answer */
    bool in_handler : 1;                     /* the handler is on the stack, the exchange must stay */
    bool answered : 1;                       /* in full, while in_handler */
    bool gone : 1;                           /* the peer left and the owner knows, or will learn when it answers */
};

/* A connection of `s` on fd (taken). NULL without memory: fd is closed. */
struct http_conn *conn_create(struct http_server *s, int fd);
/* Answers ready bytes without reading a request and lingers: for peers beyond a limit. */
void conn_turn_away(struct http_conn *c, struct tc_str answer);
void conn_start(struct http_conn *c);   /* begins to read */
void conn_close(struct http_conn *c);   /* idempotent; c stays valid until the loop's close phase */
void conn_reset(struct http_conn *c);   /* the same with RST */
void conn_abandon(struct http_conn *c); /* the server closes: tells the owner, if there is one, and closes */
void conn_on_wait(struct http_conn *c); /* its deadline passed */

void conn_set_state(struct http_conn *c, enum conn_state to);
void conn_watch(struct http_conn *c, int events); /* 0 = nothing, not even errors */
void conn_linger(struct http_conn *c);
/* Frees request and buffers, at once or when the handler returns that may still look at them. */
void conn_drop_exchange(struct http_conn *c);
/* The answer is out: reads the next request or lingers. */
void conn_next(struct http_conn *c);
/* Answers a request that cannot be served and lets no other follow. */
void conn_refuse(struct http_conn *c, int status, const char *why);

/* reply.c: more of the answer may be sent. */
void reply_flush(struct http_conn *c);
const char *reply_reason(int status); /* "Not Found"; "Status" if unknown */
/* "HTTP/1.1 200 OK" and the Content-Type line if there is one. */
void reply_begin(struct tc_buf *out, int status, const char *content_type);
/* Counts an answer of this status. */
void reply_count(struct http_conn *c, int status);

/* stream.c */
void stream_on_poll(struct http_conn *c, int status, int events);
void stream_gone(struct http_conn *c); /* tells the owner once */

#endif
