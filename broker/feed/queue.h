/* The jobs that wait for a worker, as one look at the queue sees them for all feeds of queued generations: how many are
 * before one, and is it there at all? Looks come with the sweep while somebody reads such a generation, and when one is
 * loaded and the last look is not fresh; never two at once, each of a bounded answer. So what Redis is asked grows with
 * time, not with readers. Loop thread; its state is the hub's. */
#ifndef BROKER_FEED_QUEUE_H
#define BROKER_FEED_QUEUE_H

#include "feed/hub.h"

/* How many jobs wait before this one (meta's `job`): as the last look saw it, up to QUEUE_JOBS, which means that or
 * more. 0 also for a job that a worker has. -1 = unknown. */
int64_t queue_ahead(const struct hub *h, const char *job);
/* A look not older than a sweep has seen this job wait. */
bool queue_holds(const struct hub *h, const char *job);

/* Makes sure that queue_ahead knows of a job. True: w->cb is called once when it does or cannot, with or without Redis,
 * and w and its job must stay until then. False: nothing more is to be had now. */
TC_MUST_USE bool queue_ask(struct hub *h, struct queue_wait *w);

void queue_sweep(struct hub *h);  /* after the feeds' sweep: looks if one of them wants it */
void queue_forget(struct hub *h); /* Redis was away or is another one: what was seen says nothing */

#endif
