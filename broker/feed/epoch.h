/* Which data Redis holds: a random mark that the first broker leaves in it. A log that is gone together with the mark
 * under which it was seen was not deleted: Redis has lost its data. Any broker leaves another mark in a Redis that came
 * back empty, so what counts is that it differs, not that it is missing. In a Cluster it marks the data of one master.
 * Loop thread. */
#ifndef BROKER_FEED_EPOCH_H
#define BROKER_FEED_EPOCH_H

#include "feed/hub.h"

#include <hiredis/hiredis.h>

/* A link to Redis has come up: leaves a mark if there is none, and asks which one is there, for hub->epoch. */
void epoch_look(struct hub *h);
void epoch_sweep(struct hub *h); /* the same while it is not known: Redis was full, or was emptied under a link */
/* By the reply to a GET of the key, Redis has other data than in `epoch` (0 = not known: false). */
bool epoch_differs(struct hub *h, uint64_t epoch, const redisReply *reply);

#endif
