/* Catching one reader up with one generation: from the history where it reaches, from pages of the log where it does
 * not, merged, encoded in the reader's form. Says what is missing: trimmed events as a gap with their range, a branch
 * that was lost as a gap that means "start over". Loop thread; owned by its subscriber or its long poll. */
#ifndef BROKER_FEED_REPLAY_H
#define BROKER_FEED_REPLAY_H

#include "feed/feed.h"
#include "feed/sub.h"

/* Reads on after `after` ({0,0}: from the start); `until` NULL: to the head, else it ends with that position. `lost`:
 * what the reader has up to `after` is on a lost branch. Takes a reference to the feed. NULL = no memory. */
struct catchup *replay_create(struct feed *f, const struct track_key *key, struct tc_position after,
                              const struct tc_position *until, bool lost);
/* At the head the reader is told how the generation goes, if that is not what it was told last: `told`. Without this
 * call it is told nothing. */
void replay_tell_status(struct catchup *c, enum feed_status told);
/* After CATCHUP_HEAD: have `ready` called at the next change of the feed. */
void replay_wait(struct catchup *c);
/* How a generation that is part of a larger stream is labelled there. */
struct replay_label {
    const char *extra; /* dialect_event.extra, in gaps too; outlives the catch-up */
    /* Writes the id of an event at pos; ev NULL: of what puts the reader back to pos. */
    void (*id)(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_buf *out);
    void *arg;
};
void replay_label(struct catchup *c, const struct replay_label *label); /* before the first step; copied */
/* The newest position that has been dealt with. */
struct tc_position replay_position(const struct catchup *c);

#endif
