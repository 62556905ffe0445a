/* Asks one server of several where things are: a sentinel for the master, a node for the Cluster's slots. Regularly,
 * and when asked to; on another server when one is lost or knows nothing. It has a connection of its own, so that it
 * works while all others are lost. Caller's memory; loop thread.
 *
 * start -> (connecting) -> question -> on_answer -> pause -> question …; a lost connection goes on to the next server
 * after the usual back-off. */
#ifndef TC_REDIS_SCOUT_H
#define TC_REDIS_SCOUT_H

#include "redis/conn.h"

struct tc_scout_events {
    enum tc_conn_peer peer;
    int argc; /* the question; static or as long-lived as the scout */
    const char *argv[4];
    uint64_t calm_ms;                                             /* between questions while all is well */
    const struct tc_endpoint *(*server)(void *arg, unsigned nth); /* the nth to try, modulo their number */
    bool (*on_answer)(void *arg, const redisReply *reply);        /* false: it knows nothing, the next is asked */
    bool (*is_well)(void *arg);                                   /* everything that it finds is usable */
    void *arg;
};

struct tc_scout {
    struct tc_link link; /* a copy, with time-outs and counters of its own; what it points to is borrowed */
    struct tc_conn conn;
    struct tc_scout_events ev;
    struct tc_endpoint at; /* the server being asked */
    uv_timer_t timer;      /* the next question */
    unsigned nth;
    unsigned in_vain;  /* answers in a row after which all was not well */
    uint64_t asked_ms; /* uv_now() of the last question */
    bool asking, again, closing;
    bool complained; /* since the last useful answer: not a line a try */
    unsigned open;   /* what is not closed: the connection, the timer */
    void (*close_cb)(void *arg);
};

void tc_scout_start(struct tc_scout *s, uv_loop_t *loop, const struct tc_link *link, const struct tc_scout_events *ev);
void tc_scout_close(struct tc_scout *s, void (*cb)(void *arg));

/* Something is not where it was: asks soon, however often this is called. */
void tc_scout_ask(struct tc_scout *s);

#endif
