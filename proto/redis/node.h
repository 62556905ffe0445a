/* One server that holds keys: its connection for commands and that for subscriptions. Allocated; loop thread; owned by
 * a struct tc_redis, in whose table it stands until it is dropped. */
#ifndef TC_REDIS_NODE_H
#define TC_REDIS_NODE_H

#include "redis/conn.h"
#include "redis/pubsub.h"

struct tc_node {
    struct tc_redis *r; /* borrowed */
    struct tc_endpoint at;
    struct tc_conn commands;
    struct tc_pubsub_link pubsub; /* used if r->has_pubsub */
    bool in_multi;                /* MULTI was sent and its EXEC was not (call.c) */
    bool multi_failed;            /* a command of the transaction being answered was redirected (call.c) */
    bool told_up;                 /* what the watches were last told of tc_node_is_up */
    unsigned open;                /* connections whose close callback has not run */
};

/* Into a vacant place of r->nodes, whose index it returns; TC_ENOMEM, TC_EFULL. */
TC_MUST_USE int tc_node_add(struct tc_redis *r, const struct tc_endpoint *at, enum tc_conn_peer peer);
/* The index of the node at that address; -1. */
int tc_node_find(const struct tc_redis *r, const struct tc_endpoint *at);
bool tc_node_is_up(const struct tc_node *n); /* both connections are usable */

/* The server is not wanted any more: what is in flight fails with TC_ELINK, from here; then it is closed. The callbacks
 * may close r. */
void tc_node_drop(struct tc_redis *r, int index);
void tc_node_close(struct tc_redis *r, int index); /* r is closing */

#endif
