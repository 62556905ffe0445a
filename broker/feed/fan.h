/* Everything that is sent of one source (a generation, a channel): its tracks and, through them, its subscribers. An
 * event comes in once and is encoded once a track. Flushing visits subscribers in slices with a rotating hand, so that
 * a source with very many of them does not hold up the loop. Loop thread; owned by its source. */
#ifndef BROKER_FEED_FAN_H
#define BROKER_FEED_FAN_H

#include "base/attr.h"
#include "base/list.h"
#include "feed/sub.h"
#include "feed/track.h"

struct hub;

struct fan_source {
    /* A catch-up from just after `pos` for a subscriber of this track; `lost`: the reader's branch is gone, it is told
     * so and starts over. NULL = no memory. */
    struct catchup *(*catchup)(void *arg, const struct track *track, struct tc_position pos, bool lost);
    /* Begins a track where the source ends (track_begin), its pace fed with what came before. TC_ENOMEM: it is of no
     * use. */
    int (*prime)(void *arg, struct track *track);
    void *arg;
};

struct fan {
    struct hub *hub;
    struct fan_source source;
    struct track *tracks;
    uint32_t sub_count;
    struct tc_list dirty; /* in hub->dirty while something is to be flushed */
    bool ended;
    uint64_t retired_ms; /* loop time of the last fan_retire() that looked */
    int64_t latency_at;  /* `at` of the oldest event not yet flushed, microseconds; 0 = none */
};

void fan_init(struct fan *f, struct hub *hub, const struct fan_source *source);
void fan_fini(struct fan *f); /* no subscriber may be left */

/* The track of this key, made if it does not exist. */
TC_MUST_USE int fan_track(struct fan *f, const struct track_key *key, struct track **out);

/* To every track. A track that runs out of memory loses its subscribers (they come back and resume), nothing else. */
void fan_event(struct fan *f, struct tc_position pos, const struct dialect_event *in);
/* An event is about to come: asks for the memory of the first track (depth 0), of what it points to, of a subscriber,
 * of its connection (depth 3). */
#define FAN_DEPTHS 4
void fan_ahead(const struct fan *f, unsigned depth);
void fan_control(struct fan *f, const struct dialect_control *in);
void fan_end(struct fan *f);
void fan_reopen(struct fan *f); /* the source begins anew after its end; nobody is subscribed, fan_prime() follows */
void fan_heartbeat(struct fan *f, uint64_t now_ms); /* to the tracks that were quiet for the interval */
/* Asks streams that have lived long enough to come back, to whichever broker has room. Bare text cannot be asked. */
void fan_retire(struct fan *f, uint64_t now_ms);
/* The branch that everybody is on, up to `pos`, was lost: each is told and starts over in a catch-up of its own. */
void fan_restart(struct fan *f, struct tc_position pos);
/* The source has been read anew, nobody is live: the tracks begin where it ends now. */
void fan_prime(struct fan *f);
void fan_each_sub(struct fan *f, void (*cb)(struct sub *s, void *arg), void *arg);

/* Visits up to `budget` subscribers; returns true while some are left for the next turn. */
bool fan_flush(struct fan *f, unsigned *budget);
void fan_touch(struct fan *f); /* something is to be flushed */
void fan_drop_empty_tracks(struct fan *f);

#endif
