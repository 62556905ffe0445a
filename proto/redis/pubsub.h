/* The subscriptions of one loop over one connection. Caller's memory; loop thread.
 *
 * A channel exists as long as it has subscribers or Redis owes it an answer. Each (UN)SUBSCRIBE is answered in order,
 * so counting tells which answer is whose: a subscriber is ready when the answer to the SUBSCRIBE that was sent for it
 * has come, not merely some earlier one that an UNSUBSCRIBE has followed since. */
#ifndef TC_REDIS_PUBSUB_H
#define TC_REDIS_PUBSUB_H

#include "base/attr.h"
#include "redis/conn.h"
#include "redis/redis.h"

struct tc_channel;

struct tc_pubsub {
    struct tc_conn conn;
    struct tc_link *link;                  /* borrowed */
    struct tc_channel *channels;           /* owned hash table by name */
    bool allowed;                          /* the owner wants subscriptions sent (tc_pubsub_allow) */
    bool sent;                             /* all channels have been subscribed on the present connection */
    bool ready;                            /* and all answers have come */
    void (*on_change)(void *arg, int err); /* `ready` changed; err when it was lost */
    void *arg;
    void (*close_cb)(void *arg);
};

void tc_pubsub_start(struct tc_pubsub *ps, uv_loop_t *loop, struct tc_link *link, void (*on_change)(void *arg, int err),
                     void *arg);
/* Detaches every subscriber at once; cb(arg) later. */
void tc_pubsub_close(struct tc_pubsub *ps, void (*cb)(void *arg));

/* Subscribing waits for this: a subscriber told that it is ready wants to send commands, so they must be possible. */
void tc_pubsub_allow(struct tc_pubsub *ps);
void tc_pubsub_disallow(struct tc_pubsub *ps);

TC_MUST_USE int tc_pubsub_add(struct tc_pubsub *ps, struct tc_redis_sub *sub, const char *channel);
void tc_pubsub_remove(struct tc_pubsub *ps, struct tc_redis_sub *sub);

#endif
