/* The subscriptions of one loop, over one connection a server. Caller's memory; loop thread.
 *
 * A channel exists as long as it has subscribers or Redis owes it an answer. Each (UN)SUBSCRIBE is answered in order,
 * so counting tells which answer is whose: a subscriber is ready when the answer to the SUBSCRIBE that was sent for it
 * has come, not merely some earlier one that an UNSUBSCRIBE has followed since.
 *
 * In a Cluster (`sharded`) a channel is subscribed at the owner of its slot, its home. When the slot moves, the server
 * says SUNSUBSCRIBE of its own accord, or MOVED: the channel is then homeless until tc_pubsub_rehome. */
#ifndef TC_REDIS_PUBSUB_H
#define TC_REDIS_PUBSUB_H

#include "base/attr.h"
#include "redis/conn.h"
#include "redis/redis.h"

struct tc_channel;
struct tc_pubsub_link;

struct tc_pubsub {
    struct tc_redis_stats *stats; /* borrowed */
    struct tc_channel *channels;  /* owned hash table by name */
    bool sharded;
    size_t homeless; /* channels without a home */
    /* Where a channel is to be subscribed; NULL: not known. */
    struct tc_pubsub_link *(*home)(void *arg, struct tc_str channel);
    void (*on_homeless)(void *arg); /* a slot is not where it was: find out, then rehome */
    void *arg;
};

/* The connection to one server. */
struct tc_pubsub_link {
    struct tc_pubsub *ps; /* borrowed */
    struct tc_conn conn;
    struct tc_channel *channels;           /* those at home here; a list */
    bool allowed;                          /* the owner wants subscriptions sent (tc_pubsub_allow) */
    bool sent;                             /* all channels have been subscribed on the present connection */
    bool ready;                            /* and all answers have come */
    void (*on_change)(void *arg, int err); /* `ready` changed; err when it was lost */
    void *arg;
    void (*close_cb)(void *arg);
};

/* Memory only; the home of each channel is asked for as soon as there is a subscriber. */
void tc_pubsub_detach(struct tc_pubsub *ps); /* every subscriber, at once */
void tc_pubsub_fini(struct tc_pubsub *ps);   /* detached, and all links closed */

void tc_pubsub_link_start(struct tc_pubsub_link *l, struct tc_pubsub *ps, uv_loop_t *loop, struct tc_link *link,
                          const struct tc_endpoint *at, enum tc_conn_peer peer, void (*on_change)(void *arg, int err),
                          void *arg);
/* cb(arg) later. Its channels are homeless. */
void tc_pubsub_link_close(struct tc_pubsub_link *l, void (*cb)(void *arg));

/* Subscribing waits for this: a subscriber told that it is ready wants to send commands, so they must be possible. */
void tc_pubsub_allow(struct tc_pubsub_link *l);
void tc_pubsub_disallow(struct tc_pubsub_link *l);

/* Homes may have changed: moves channels, and subscribes again what a server has refused for a while. */
void tc_pubsub_rehome(struct tc_pubsub *ps);
void tc_pubsub_retry(struct tc_pubsub_link *l);

TC_MUST_USE int tc_pubsub_add(struct tc_pubsub *ps, struct tc_redis_sub *sub, const char *channel);
void tc_pubsub_remove(struct tc_pubsub *ps, struct tc_redis_sub *sub);

#endif
