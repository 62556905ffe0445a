/* The window of recent events of a generation. Loop thread; owned by its feed. */
#include "feed/history.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

void history_init(struct history *h, size_t max_events, size_t max_bytes) {
    *h = (struct history){.max_events = max_events, .max_bytes = max_bytes};
}

void history_clear(struct history *h) {
    for (size_t i = 0; i < h->count; i++)
        free(h->ring[(h->start + i) & (h->cap - 1)]);
    h->start = h->count = h->bytes = 0;
}

void history_fini(struct history *h) {
    history_clear(h);
    free(h->ring);
    *h = (struct history){0};
}

static int grow(struct history *h) {
    if (h->count < h->cap)
        return 0;
    size_t cap = h->cap ? h->cap * 2 : 16;
    struct entry **ring = malloc(cap * sizeof *ring);
    if (ring == NULL)
        return TC_ENOMEM;
    for (size_t i = 0; i < h->count; i++)
        ring[i] = h->ring[(h->start + i) & (h->cap - 1)];
    free(h->ring);
    h->ring = ring;
    h->cap = cap;
    h->start = 0;
    return 0;
}

static struct entry *make_entry(struct tc_position pos, struct tc_str raw) {
    struct entry *e = malloc(sizeof *e + raw.n);
    if (e == NULL)
        return NULL;
    e->pos = pos;
    e->len = (uint32_t)raw.n;
    if (raw.n > 0)
        memcpy(e->bytes, raw.p, raw.n);
    return e;
}

static void drop_oldest(struct history *h) {
    struct entry *old = h->ring[h->start];
    h->bytes -= old->len;
    h->start = (h->start + 1) & (h->cap - 1);
    h->count--;
    free(old);
}

int history_push(struct history *h, struct tc_position pos, struct tc_str raw) {
    struct entry *e = make_entry(pos, raw);
    if (e == NULL)
        return TC_ENOMEM;
    if (grow(h) != 0) {
        free(e);
        return TC_ENOMEM;
    }
    h->ring[(h->start + h->count) & (h->cap - 1)] = e;
    h->count++;
    h->bytes += raw.n;
    while (h->count > 1 && (h->count > h->max_events || h->bytes > h->max_bytes))
        drop_oldest(h);
    return 0;
}

int history_push_front(struct history *h, struct tc_position pos, struct tc_str raw) {
    if (h->count > 0 && (h->count >= h->max_events || h->bytes + raw.n > h->max_bytes))
        return TC_EFULL;
    struct entry *e = make_entry(pos, raw);
    if (e == NULL)
        return TC_ENOMEM;
    if (grow(h) != 0) {
        free(e);
        return TC_ENOMEM;
    }
    h->start = (h->start + h->cap - 1) & (h->cap - 1);
    h->ring[h->start] = e;
    h->count++;
    h->bytes += raw.n;
    return 0;
}

const struct entry *history_at(const struct history *h, size_t i) {
    return h->ring[(h->start + i) & (h->cap - 1)];
}

enum history_place history_after(const struct history *h, struct tc_position pos, size_t *index) {
    if (h->count == 0)
        return HISTORY_OLDER;
    uint64_t first = history_at(h, 0)->pos.seq;
    if (pos.seq < first) {
        if (pos.seq + 1 < first)
            return HISTORY_OLDER;
        *index = 0;
        /* Nothing kept tells whether pos was on this branch, unless there is nothing before the first event. */
        return pos.seq == 0 && pos.attempt == 0 ? HISTORY_FOUND : HISTORY_OLDER;
    }
    uint64_t offset = pos.seq - first;
    if (offset >= h->count)
        return HISTORY_NEWER;
    if (tc_position_cmp(history_at(h, (size_t)offset)->pos, pos) != 0)
        return HISTORY_FOREIGN;
    *index = (size_t)offset + 1;
    return HISTORY_FOUND;
}
