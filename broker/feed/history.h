/* The latest events of one generation, in order and without holes, shared by every reader of this loop: what late
 * joiners and resuming readers are served from without asking Redis. Bounded by events and bytes. */
#ifndef BROKER_FEED_HISTORY_H
#define BROKER_FEED_HISTORY_H

#include "base/attr.h"
#include "base/str.h"
#include "tokencast/position.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct entry {
    struct tc_position pos;
    uint32_t len;
    char bytes[]; /* the MessagePack map */
};

struct chunk;

struct history {
    struct entry **ring; /* entries in chunks; cap is a power of two */
    size_t cap, start, count;
    struct chunk *oldest, *newest;    /* owned */
    uint32_t newest_used, newest_cap; /* bytes */
    size_t bytes;                     /* of all entries */
    size_t memory;                    /* of all chunks */
    size_t max_events, max_bytes;
};

void history_init(struct history *h, size_t max_events, size_t max_bytes);
void history_fini(struct history *h);  /* accepts zeroed memory */
void history_clear(struct history *h); /* forgets the entries */

/* Copies raw. Beyond a bound the oldest leave, a sixteenth of it at once; the newest always stays. */
TC_MUST_USE int history_push(struct history *h, struct tc_position pos, struct tc_str raw);
void history_ahead(const struct history *h); /* a push is about to come (base/prefetch.h) */
/* At the old end, for loading backwards; TC_EFULL once a bound would be passed. */
TC_MUST_USE int history_push_front(struct history *h, struct tc_position pos, struct tc_str raw);

const struct entry *history_at(const struct history *h, size_t i); /* 0 = oldest; i < count */

enum history_place {
    HISTORY_FOUND,  /* *index is the first event after pos (== count: pos is the newest) */
    HISTORY_OLDER,  /* pos lies before what is kept */
    HISTORY_NEWER,  /* pos lies ahead of the newest */
    HISTORY_FOREIGN /* another event has pos's seq: pos is on a branch that was lost */
};
/* Where reading goes on after pos; {0,0} stands before the first event of a log. */
enum history_place history_after(const struct history *h, struct tc_position pos, size_t *index);

#endif
