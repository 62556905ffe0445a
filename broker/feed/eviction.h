/* What Redis does when its memory is full. A policy that evicts loses logs, so it is warned of once; the counter of
 * evicted keys, sampled at every sweep, tells why a log is gone: what was evicted long before has nothing to do with
 * it. In a Cluster the counter is that of one master. Loop thread; its state is the hub's. */
#ifndef BROKER_FEED_EVICTION_H
#define BROKER_FEED_EVICTION_H

#include "feed/hub.h"

#include <hiredis/hiredis.h>

/* Redis came up: asks for its policy, and begins to sample its counter. */
void eviction_look(struct hub *h);
void eviction_sample(struct hub *h); /* every sweep */
/* From the reply to INFO stats; -1 = it does not say. */
int64_t eviction_count(const redisReply *info);
/* With this count now, keys have been evicted within the time of the samples. */
bool eviction_has_struck(const struct hub *h, int64_t count);

#endif
