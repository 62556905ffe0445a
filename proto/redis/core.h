/* The inside of struct tc_redis, for its parts: which servers there are and which of them has what. Loop thread.
 *
 *   TC_REDIS_ONE       one node, there from the start
 *   TC_REDIS_SENTINEL  one node, the master; sentinel.c makes it when the sentinels have said where, and another one
 *                      when they say another
 *   TC_REDIS_CLUSTER   a node a master; cluster.c makes and drops them as the map of the slots says */
#ifndef TC_REDIS_CORE_H
#define TC_REDIS_CORE_H

#include "redis/confirm.h"
#include "redis/conn.h"
#include "redis/node.h"
#include "redis/pubsub.h"
#include "redis/redis.h"
#include "redis/scout.h"
#include "redis/slot.h"

struct tc_cluster {
    uint64_t known_ms;       /* uv_now() when the first map came; 0 = none has */
    struct tc_slot_map map;  /* as last told */
    uint8_t owner[TC_SLOTS]; /* index into nodes; TC_NO_NODE */
    uint8_t next[TC_SLOTS];  /* the same while a map is being taken */
};

struct tc_redis {
    struct tc_link link;
    uv_loop_t *loop;
    struct tc_node *nodes[TC_NODES_MAX]; /* owned; NULL = vacant; all are wanted */
    struct tc_scout *scout;              /* owned; NULL: the server is in the URL */
    struct tc_cluster *cluster;          /* owned; NULL: every key is at nodes[0] */
    struct tc_confirm confirm;           /* TC_REDIS_SENTINEL */
    struct tc_pubsub pubsub;
    bool has_pubsub;
    bool complete; /* every key has a node */
    size_t held;   /* bytes of commands in flight that may have to be repeated (call.c) */
    bool up;       /* what the watches were last told */
    bool usable;   /* the same of tc_redis_is_usable */
    bool settled;  /* all were up once, or have had the time for it */
    bool closing;
    unsigned open;                     /* nodes and scout whose close callback has not run */
    struct tc_redis_watch *watches;    /* the watchers' memory */
    struct tc_redis_watch *next_watch; /* a notification's place in the list; a removal moves it on */
    void (*close_cb)(void *arg);
    void *close_arg;
};

struct tc_node *tc_core_route(const struct tc_redis *r, struct tc_str key); /* NULL: nobody has it now */

void tc_core_notify(struct tc_redis *r, int err); /* is_up may have changed; err why if it is lost */
void tc_core_lost(struct tc_redis *r, int err);   /* a node's commands have failed: is told even while down */
void tc_core_moved(struct tc_redis *r);           /* keys have other nodes than before */
void tc_core_part_closed(void *arg);              /* counts `open` down; the last one frees */

/* TC_ENOMEM: nothing was started. */
TC_MUST_USE int tc_core_send_scout(struct tc_redis *r,
                                   const struct tc_scout_events *ev); /* arg and is_well are set here */
TC_MUST_USE int tc_sentinel_start(struct tc_redis *r);
TC_MUST_USE int tc_cluster_start(struct tc_redis *r);

#endif
