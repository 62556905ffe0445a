/* A room: one stream of the generations started in it and of all their events. Its positions are composite: how far
 * the announcements were read, and the position in every generation that is not over. A generation announced before
 * that and not named in it was read to its end. Loop thread; owned by the hub, kept by channel_ref() while used. */
#ifndef BROKER_FEED_CHANNEL_H
#define BROKER_FEED_CHANNEL_H

#include "feed/feed.h"
#include "feed/hub.h"
#include "feed/sub.h"
#include "feed/vector.h"

/* The channel, made and loading if need be, with a reference. TC_EFULL, TC_ENOMEM. */
TC_MUST_USE int channel_get(struct hub *h, const char *name, struct channel **out);
void channel_unref(struct channel *c);
struct fan *channel_fan(struct channel *c);

/* A catch-up from `after` (NULL: the generations that are live now, from their start). The key's pace must be
 * PACE_TOKEN: pieces of several generations interleave, so nothing can be held back. NULL = no memory. */
struct catchup *channel_catchup(struct channel *c, const struct track_key *key, const struct vector *after);

void channels_sweep(struct hub *h, uint64_t now_ms);
void channels_destroy(struct hub *h);
void channels_each_sub(struct hub *h, void (*cb)(struct sub *s, void *arg), void *arg);

#endif
