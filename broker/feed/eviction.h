/* What Redis does when its memory is full. A policy that evicts loses logs, so it is warned of once; the counter of
 * evicted keys tells later why a log is gone. Loop thread; its state is the hub's. */
#ifndef BROKER_FEED_EVICTION_H
#define BROKER_FEED_EVICTION_H

#include "feed/hub.h"

#include <hiredis/hiredis.h>

/* Redis came up: asks for its policy and its counter. */
void eviction_look(struct hub *h);
/* From the reply to INFO stats; -1 = it does not say. */
int64_t eviction_count(const redisReply *info);
/* Keys have been evicted since Redis came up. */
bool eviction_has_struck(const struct hub *h, int64_t count);

#endif
