/* One channel that is subscribed, and the table of them (private to pubsub.c, which says when one exists). Its memory
 * is its table's; the subscribers' is their own. Loop thread. */
#ifndef TC_REDIS_CHANNEL_H
#define TC_REDIS_CHANNEL_H

#include "redis/pubsub.h"

#define HASH_NONFATAL_OOM         1
#define HASH_BKT_CAPACITY_THRESH  5 /* short chains: each link is a look at memory that is not in the cache */
#define uthash_nonfatal_oom(item) ((item)->unhashed = true)
#include <uthash.h>

struct tc_channel {
    struct tc_channel *home_prev, *home_next; /* in home->channels */
    uint64_t sent, confirmed;                 /* SUBSCRIBEs on the present connection, and their answers */
    uint64_t leaving;                         /* UNSUBSCRIBEs that were not answered */
    size_t len;
    bool unhashed; /* out of memory while adding to the table */

    UT_hash_handle hh;           /* what a message touches begins here */
    struct tc_redis_sub *subs;   /* in order of arrival */
    struct tc_redis_sub *next;   /* the walk's place: the one to visit next */
    struct tc_pubsub_link *home; /* NULL: homeless */
    uint64_t owed;               /* answers of either kind that have not come */
    char name[];
};

unsigned tc_channel_hash(struct tc_str name);
struct tc_channel *tc_channel_find(const struct tc_pubsub *ps, struct tc_str name, unsigned hash); /* NULL = none */
/* At the home that the table's owner says. NULL = no memory. */
struct tc_channel *tc_channel_create(struct tc_pubsub *ps, struct tc_str name);
void tc_channel_destroy(struct tc_pubsub *ps, struct tc_channel *ch);
void tc_channel_destroy_if_unused(struct tc_pubsub *ps, struct tc_channel *ch);

/* Another home, or none (NULL). What the former one has answered counts no more: subscribers wait for the first
 * SUBSCRIBE of the next. */
void tc_channel_settle(struct tc_pubsub *ps, struct tc_channel *ch, struct tc_pubsub_link *home);
void tc_channel_forget(struct tc_channel *ch); /* what a connection has answered */
void tc_channel_detach(struct tc_channel *ch, struct tc_redis_sub *sub);

/* Messages for these channels come next: asks for the memory that they will touch (base/prefetch.h). At most
 * TC_READER_TOGETHER. */
void tc_channels_warm(const struct tc_pubsub *ps, const unsigned *hashes, size_t n);

#endif
