/* What was said and never sent: the one place where pieces may still be merged. Adjacent text of one kind and index
 * becomes one entry, so do adjacent pieces of one tool call; everything else is an entry of its own, in order.
 * Caller's memory; between init and fini. */
#ifndef WORKER_PUBLISH_OUTBOX_H
#define WORKER_PUBLISH_OUTBOX_H

#include "base/attr.h"
#include "base/buf.h"
#include "tokencast/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OUTBOX_ENTRY_MAX (64U * 1024U) /* bytes of text or arguments in one entry; more is split at a character */

struct outbox_item;

struct outbox {
    struct outbox_item *head, *tail; /* owned, in the order said */
    size_t bytes;                    /* of text, arguments and encoded events that wait */
    struct outbox_item *spare;       /* owned: an empty one, so that a piece that goes at once allocates nothing */
    uint64_t moved;                  /* bytes copied within items to make room, ever; never more than were said */
    uint64_t flush_pieces;           /* text waits for this many pieces … */
    uint64_t flush_us;               /* … or this long */
    bool sent_text;                  /* the first text of all never waits: somebody looks at an empty page */
};

void outbox_init(struct outbox *o, uint64_t flush_pieces, uint64_t flush_us);
void outbox_fini(struct outbox *o); /* accepts zeroed memory */

/* `offset` is that of this piece; `at_us` Unix time, the entry carries its first piece's; `now_us` monotonic. All
 * copy; TC_ENOMEM changes nothing. */
TC_MUST_USE int outbox_text(struct outbox *o, enum tc_kind kind, uint32_t index, uint64_t offset, struct tc_str text,
                            int64_t at_us, uint64_t now_us);
/* The id and name of `ev` are non-empty when first known; index, offset, arguments, done, invalid and at count too. */
TC_MUST_USE int outbox_tool(struct outbox *o, const struct tc_event *ev);
TC_MUST_USE int outbox_event(struct outbox *o, const struct tc_event *ev);

bool outbox_is_empty(const struct outbox *o);

/* How long the next entry still waits by the cadence, in microseconds; 0: it may go. Not for an empty outbox. */
uint64_t outbox_wait(const struct outbox *o, uint64_t now_us);

/* The next entry's bytes into `out` (reset first), then its removal, in two steps: what could not be kept for sending
 * stays here. Not for an empty outbox. TC_ENOMEM. */
TC_MUST_USE int outbox_peek(const struct outbox *o, struct tc_buf *out);
void outbox_drop(struct outbox *o); /* exactly what peek gave, with nothing said in between */

#endif
