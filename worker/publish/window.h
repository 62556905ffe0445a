/* What one attempt wrote, as bytes under positions: what was sent and not yet acknowledged, and the acknowledged
 * entries that a failover could still lose. An entry's bytes never change: what was once sent under an id is repeated
 * byte for byte. Caller's memory; between init and fini. */
#ifndef WORKER_PUBLISH_WINDOW_H
#define WORKER_PUBLISH_WINDOW_H

#include "base/attr.h"
#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

struct window_entry {
    struct window_entry *next;
    uint64_t seq;
    uint64_t acked_us; /* monotonic; when it was last acknowledged, 0 = not yet */
    size_t len;
    char bytes[]; /* the entry's `e` */
};

struct window {
    struct window_entry *head, *tail; /* owned, by rising seq, without holes */
    struct window_entry *unacked;     /* the first that is not acknowledged, or NULL */
    uint64_t floor;                   /* seq before the oldest entry kept */
    size_t acked_bytes;               /* of the acknowledged entries */
    size_t max_bytes;                 /* bound on acked_bytes */
    uint64_t max_age_us;              /* an acknowledged entry is dropped when it is older */
};

/* Entries follow `seq`, the last event that was there before. */
void window_init(struct window *w, uint64_t seq, size_t max_bytes, uint64_t max_age_us);
void window_fini(struct window *w); /* accepts zeroed memory */

uint64_t window_last(const struct window *w); /* seq of the newest entry, or what init said */

/* Adds the next entry, copied, as unacknowledged; *out is valid until it is trimmed. TC_ENOMEM. */
TC_MUST_USE int window_push(struct window *w, struct tc_str bytes, struct window_entry **out);

/* The first unacknowledged entry (there is one) was acknowledged; old entries are dropped. */
void window_ack(struct window *w, uint64_t now_us);

/* Redis's log ends with `seq`: what follows counts as unacknowledged again, *repeated says how many of it had been
 * acknowledged. TC_ERANGE, with nothing changed, when that is not all here. */
TC_MUST_USE int window_rewind(struct window *w, uint64_t seq, uint64_t *repeated);

#endif
