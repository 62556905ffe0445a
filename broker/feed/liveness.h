/* Is anybody working on a generation that its readers wait for? Looked at while it is quiet for a lease: without a
 * worker it is stalled; a job that the queue has lost is queued again. Loop thread. */
#ifndef BROKER_FEED_LIVENESS_H
#define BROKER_FEED_LIVENESS_H

#include "feed/feed.h"

/* Takes meta.job (ARGV[1]) back if it is still that: of several who find a job missing, one queues it again. */
#define LIVENESS_TAKE_BACK                                                                                             \
    "if redis.call('HGET',KEYS[1],'job')==ARGV[1] then return redis.call('HDEL',KEYS[1],'job') end return 0"

/* Every sweep; looks when it is time to. */
void liveness_check(struct feed *f, uint64_t now_ms);
/* The log will expire in `ttl` ms; -1: never. */
void liveness_note_ttl(struct feed *f, int64_t ttl);

#endif
