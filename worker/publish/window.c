/* The window of written entries. Owned by one writer. In the ordinary case it is a queue: one entry unacknowledged at
 * its end, a few seconds of acknowledged ones before it. */
#include "publish/window.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

void window_init(struct window *w, uint64_t seq, size_t max_bytes, uint64_t max_age_us) {
    memset(w, 0, sizeof(*w));
    w->floor = seq;
    w->max_bytes = max_bytes;
    w->max_age_us = max_age_us;
}

void window_fini(struct window *w) {
    while (w->head) {
        struct window_entry *e = w->head;
        w->head = e->next;
        free(e);
    }
    memset(w, 0, sizeof(*w));
}

uint64_t window_last(const struct window *w) {
    return w->tail ? w->tail->seq : w->floor;
}

int window_push(struct window *w, struct tc_str bytes, struct window_entry **out) {
    struct window_entry *e = malloc(sizeof(*e) + bytes.n);
    if (!e)
        return TC_ENOMEM;
    e->next = NULL;
    e->seq = window_last(w) + 1;
    e->acked_us = 0;
    e->len = bytes.n;
    memcpy(e->bytes, bytes.p, bytes.n);
    if (w->tail)
        w->tail->next = e;
    else
        w->head = e;
    w->tail = e;
    if (!w->unacked)
        w->unacked = e;
    *out = e;
    return 0;
}

static void trim(struct window *w, uint64_t now_us) {
    while (w->head && w->head != w->unacked) {
        struct window_entry *e = w->head;
        if (w->acked_bytes <= w->max_bytes && now_us - e->acked_us <= w->max_age_us)
            return;
        w->head = e->next;
        if (!w->head)
            w->tail = NULL;
        w->floor = e->seq;
        w->acked_bytes -= e->len;
        free(e);
    }
}

void window_ack(struct window *w, uint64_t now_us) {
    struct window_entry *e = w->unacked;
    e->acked_us = now_us;
    w->acked_bytes += e->len;
    w->unacked = e->next;
    trim(w, now_us);
}

int window_rewind(struct window *w, uint64_t seq, uint64_t *repeated) {
    if (seq < w->floor || seq > window_last(w))
        return TC_ERANGE;
    *repeated = 0;
    w->unacked = NULL;
    w->acked_bytes = 0;
    for (struct window_entry *e = w->head; e; e = e->next) {
        if (e->seq <= seq) {
            w->acked_bytes += e->len;
            continue;
        }
        if (!w->unacked)
            w->unacked = e;
        *repeated += e->acked_us != 0;
        e->acked_us = 0;
    }
    return 0;
}
