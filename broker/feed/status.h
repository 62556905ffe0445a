/* What readers are told of how a generation goes besides its events: queued, running, stalled (no worker is known to
 * live), recovering (Redis is away). Each change is told once, to every reader; one who was catching up meanwhile is
 * told when it arrives at the head. Loop thread. */
#ifndef BROKER_FEED_STATUS_H
#define BROKER_FEED_STATUS_H

#include "base/buf.h"
#include "feed/feed.h"

enum feed_status status_of(const struct feed *f); /* of one that is READY and goes on */
/* The same without what only this broker suffers from: what `open`, snapshots and polls say. */
enum feed_status status_of_generation(const struct feed *f);
bool status_is_cut_off(const struct feed *f); /* its Redis, or its part of a Cluster, is away */
const char *status_name(enum feed_status s);
/* Tells those at the head, if it is news to them. */
void status_update(struct feed *f);
/* {"type":"status","state"}; `extra` are ready JSON members with their comma, or NULL. */
void status_json(struct tc_buf *out, const char *extra, enum feed_status s);

#endif
