/* Catch-ups that were built a moment ago, for the next reader who asks for the same: when a broker dies its readers
 * come to another all at once, most of them from one position, and the events since then are joined and encoded for the
 * first of them only. A few slots a loop, each of at most RECAP_BYTES, so that the bound depends neither on readers nor
 * on generations. Loop thread; owned by the hub. */
#ifndef BROKER_FEED_RECAP_H
#define BROKER_FEED_RECAP_H

#include "base/buf.h"
#include "feed/history.h"
#include "feed/track.h"

#define RECAP_SLOTS   16
#define RECAP_MIN     16 /* events: fewer are built as fast as they are looked up */
#define RECAP_AGE     64 /* events since: more are worth building it anew */
#define RECAP_BYTES   65536
#define RECAP_KEEP_MS 1000 /* after its last use */

struct recap_key {
    const void *source; /* the feed; only compared */
    struct track_key form;
    struct tc_position after; /* where the reader stood */
};

struct recap_end {
    struct tc_position to; /* the newest event dealt with */
    bool ended;            /* that was `done` */
    size_t events;         /* how many were */
};

struct recap_slot {
    struct recap_key key;
    struct recap_end end;
    struct tc_buf bytes; /* frames */
    uint64_t used_ms;    /* loop time of the last use */
    bool taken;
};

struct recap {
    struct recap_slot slots[RECAP_SLOTS];
};

/* What was built under this key; *index becomes the first event of the history after it. NULL = nothing, or it ends too
 * far back by now to be worth it. Valid until the next call. */
const struct recap_slot *recap_find(struct recap *r, const struct recap_key *key, const struct history *h,
                                    size_t *index, uint64_t now_ms);
/* Copies out from byte `mark` on, in place of what was kept under this key or was used longest ago. Keeps nothing that
 * is not worth it, too large, or for which there is no memory: it is of benefit only. */
void recap_keep(struct recap *r, const struct recap_key *key, const struct recap_end *end, const struct tc_buf *out,
                size_t mark, uint64_t now_ms);
void recap_forget(struct recap *r, const void *source); /* its positions mean something else now, or nothing */
void recap_expire(struct recap *r, uint64_t now_ms);
void recap_fini(struct recap *r); /* accepts zeroed memory */

#endif
