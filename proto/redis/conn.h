/* One connection to one Redis server: connecting, greeting (AUTH, CLIENT SETNAME, SELECT, PING), commands with their
 * replies in order, time-outs, and reconnection for ever. Caller's memory; loop thread.
 *
 *           start, or the back-off's end         stream open              greeting done
 *   WAITING ----------------------------> OPENING ----------> GREETING -----------------> UP
 *   (waits: timer)                       (waits: stream)     (waits: replies)            (waits: nothing)
 *      ^                                     |                  |                          |
 *      +----------- stream closed ----- LOST <------------------+--------------------------+
 *                                  (waits: stream's close)
 *   every state -- close --> CLOSING (waits: the stream's close, the timer's close), then the memory is the caller's
 */
#ifndef TC_REDIS_CONN_H
#define TC_REDIS_CONN_H

#include "base/attr.h"
#include "redis/fifo.h"
#include "redis/reader.h"
#include "redis/redis.h"
#include "redis/stream.h"
#include "redis/url.h"

#include <uv.h>

/* What all connections of one struct tc_redis share; resolved from its options, fixed while it lives. */
struct tc_link {
    struct tc_redis_url url; /* the login and the database; the address of the one server named there */
    SSL_CTX *tls;            /* owned; NULL = plain */
    char *client_name;       /* owned; NULL = none */
    uint64_t connect_timeout_ms, command_timeout_ms, backoff_min_ms, backoff_max_ms;
    size_t max_in_flight, max_out_bytes;
    struct tc_redis_stats stats;
};

/* What the greeting makes sure of. */
enum tc_conn_peer {
    TC_PEER_SERVER,
    TC_PEER_MASTER,  /* by ROLE: a replica is refused, and a reply READONLY ends the connection */
    TC_PEER_SENTINEL /* knows no databases; the login is tried, but a sentinel without passwords takes anybody */
};

struct tc_conn_events {
    enum tc_conn_peer peer;
    bool minor; /* no user waits for it: its coming and going is logged for debugging only */
    /* Asked before every try for the address, which must then stay until the next. NULL: it is always the one given at
     * the start. */
    const struct tc_endpoint *(*where)(void *arg);
    void (*on_up)(void *arg);
    void (*on_down)(void *arg, int err); /* only after on_up; what was in flight has failed by then */
    /* NULL: replies go to their callbacks. Otherwise (a connection that subscribes) every reply after the greeting
     * comes here, nothing has a callback, and the connection watches its own liveness with PINGs, whose replies come
     * here too. */
    void (*on_reply)(void *arg, const redisReply *reply);
    /* With on_reply: where published messages go, except now and then one that comes as a reply. NULL = all do. */
    void (*on_messages)(void *arg, const struct tc_push *messages, size_t n);
    void *arg;
};

enum tc_conn_state { TC_CONN_WAITING, TC_CONN_OPENING, TC_CONN_GREETING, TC_CONN_UP, TC_CONN_LOST, TC_CONN_CLOSING };

struct tc_conn {
    uv_loop_t *loop;
    struct tc_link *link;         /* borrowed */
    const struct tc_endpoint *at; /* borrowed: the server's address; NULL until ev.where has said it */
    const char *role;             /* static, for the log: "commands", "pubsub" */
    struct tc_conn_events ev;
    enum tc_conn_state state;

    struct tc_stream stream;
    struct tc_reader reader;
    struct tc_fifo waiting; /* callbacks of commands in flight */
    uv_timer_t timer; /* WAITING: back-off; OPENING, GREETING: connect time-out; UP: the oldest command, or PING */
    bool stream_live; /* opened and its close callback has not run */
    bool timer_live;
    bool overdue;     /* the oldest command had its time and the timer's period of grace runs */
    uint64_t read_ms; /* loop time of the last bytes; 0 = none yet */
    unsigned quiet;   /* timer periods without a byte, where on_reply is set */
    unsigned tries;   /* failed since the last UP */
    bool refused;     /* the last try failed on something that only an operator can change: longest back-off */
    int logged_err;   /* the failure last logged, so that a long outage is not a line a try */
    void (*close_cb)(void *arg);
};

/* Connects from the loop, never from here. The loop cannot refuse a timer, so this cannot fail. */
void tc_conn_start(struct tc_conn *c, uv_loop_t *loop, struct tc_link *link, const struct tc_endpoint *at,
                   const char *role, const struct tc_conn_events *ev);

/* Fails what is in flight with TC_ECLOSED, then calls cb(ev.arg), all of it later, from the loop. Once. */
void tc_conn_close(struct tc_conn *c, void (*cb)(void *arg));

bool tc_conn_is_up(const struct tc_conn *c);

/* Both send one command when UP (the greeting also before): 0, TC_ELINK, TC_EFULL, TC_ENOMEM. `bytes` are RESP. Where
 * ev.on_reply is set, cb must be NULL and several commands in one call are fine. */
TC_MUST_USE int tc_conn_send(struct tc_conn *c, tc_redis_reply_cb cb, void *arg, int argc, const char **argv,
                             const size_t *argvlen);
TC_MUST_USE int tc_conn_send_bytes(struct tc_conn *c, tc_redis_reply_cb cb, void *arg, const char *bytes, size_t n);

/* Gives the connection up, from one of its callbacks: fails what is in flight, on_down if it was up, reconnects. */
void tc_conn_lose(struct tc_conn *c, int err, const char *why);

/* The greeting (greeting.c): sends it; ends in tc_conn_greeted or in tc_conn_lose. */
TC_MUST_USE int tc_conn_greet(struct tc_conn *c);
void tc_conn_greeted(struct tc_conn *c);

#endif
