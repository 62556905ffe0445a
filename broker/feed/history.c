/* The window of recent events of a generation. Loop thread; owned by its feed. Entries lie in chunks, in the order in
 * which the chunks are listed: one that is pushed costs no allocation, the oldest leave chunk by chunk. */
#include "feed/history.h"

#include "base/prefetch.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_MIN 512 /* most generations are short */
#define CHUNK_MAX 16384
#define AHEAD     192 /* bytes: an event and its entry */

struct chunk {
    struct chunk *next; /* towards the newest */
    uint32_t cap, used; /* bytes; of the newest, `used` lies in the history, which is warm */
    _Alignas(struct entry) char bytes[];
};

void history_init(struct history *h, size_t max_events, size_t max_bytes) {
    *h = (struct history){.max_events = max_events, .max_bytes = max_bytes};
}

static void free_oldest_chunk(struct history *h) {
    struct chunk *old = h->oldest;
    h->oldest = old->next;
    if (old == h->newest)
        h->newest = NULL;
    h->memory -= old->cap;
    free(old);
}

/* Bytes taken of a chunk of h. */
static uint32_t *used(struct history *h, struct chunk *c) {
    return c == h->newest ? &h->newest_used : &c->used;
}

void history_clear(struct history *h) {
    while (h->oldest != NULL)
        free_oldest_chunk(h);
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

/* As large as all that is there, within bounds. */
static struct chunk *make_chunk(struct history *h, size_t least) {
    size_t cap = h->memory < CHUNK_MIN ? CHUNK_MIN : h->memory > CHUNK_MAX ? CHUNK_MAX : h->memory;
    if (cap < least)
        cap = least;
    struct chunk *c = malloc(sizeof *c + cap);
    if (c == NULL)
        return NULL;
    *c = (struct chunk){.cap = (uint32_t)cap};
    h->memory += cap;
    return c;
}

static size_t room_for(struct tc_str raw) {
    size_t n = sizeof(struct entry) + raw.n;
    return (n + _Alignof(struct entry) - 1) & ~(_Alignof(struct entry) - 1);
}

static struct entry *put(struct history *h, struct chunk *c, struct tc_position pos, struct tc_str raw) {
    struct entry *e = (struct entry *)(void *)(c->bytes + *used(h, c));
    *used(h, c) += (uint32_t)room_for(raw);
    e->pos = pos;
    e->len = (uint32_t)raw.n;
    if (raw.n > 0)
        memcpy(e->bytes, raw.p, raw.n);
    return e;
}

static bool lies_in(const struct chunk *c, const struct entry *e) {
    return (uintptr_t)e - (uintptr_t)c->bytes < c->cap;
}

static void drop_oldest(struct history *h) {
    assert(h->count > 1 && lies_in(h->oldest, history_at(h, 0)));
    h->bytes -= history_at(h, 0)->len;
    h->start = (h->start + 1) & (h->cap - 1);
    h->count--;
    while (!lies_in(h->oldest, history_at(h, 0)))
        free_oldest_chunk(h);
}

/* The oldest are memory last touched long ago: several leave at once, once a bound is passed. */
static void drop_stale(struct history *h) {
    size_t events = h->max_events - h->max_events / 16, bytes = h->max_bytes - h->max_bytes / 16;
    if (h->count <= h->max_events && h->bytes <= h->max_bytes)
        return;
    while (h->count > 1 && (h->count > events || h->bytes > bytes))
        drop_oldest(h);
}

/* A chunk at the new end. */
static int extend(struct history *h, size_t least) {
    struct chunk *c = make_chunk(h, least);
    if (c == NULL)
        return TC_ENOMEM;
    if (h->oldest == NULL) {
        h->oldest = c;
    } else {
        assert(h->newest != NULL);
        h->newest->used = h->newest_used;
        h->newest->next = c;
    }
    h->newest = c;
    h->newest_used = 0;
    h->newest_cap = c->cap;
    return 0;
}

void history_ahead(const struct history *h) {
    if (h->newest == NULL)
        return;
    tc_prefetch(&h->ring[(h->start + h->count) & (h->cap - 1)], sizeof *h->ring);
    tc_prefetch(h->newest->bytes + h->newest_used, AHEAD);
}

int history_push(struct history *h, struct tc_position pos, struct tc_str raw) {
    if (raw.n > UINT32_MAX / 2 || grow(h) != 0)
        return TC_ENOMEM;
    if ((h->newest == NULL || h->newest_cap - h->newest_used < room_for(raw)) && extend(h, room_for(raw)) != 0)
        return TC_ENOMEM;
    h->ring[(h->start + h->count) & (h->cap - 1)] = put(h, h->newest, pos, raw);
    h->count++;
    h->bytes += raw.n;
    drop_stale(h);
    return 0;
}

int history_push_front(struct history *h, struct tc_position pos, struct tc_str raw) {
    if (h->count > 0 && (h->count >= h->max_events || h->bytes + raw.n > h->max_bytes))
        return TC_EFULL;
    if (raw.n > UINT32_MAX / 2 || grow(h) != 0)
        return TC_ENOMEM;
    if (h->oldest == NULL && extend(h, room_for(raw)) != 0)
        return TC_ENOMEM;
    if (h->oldest->cap - *used(h, h->oldest) < room_for(raw)) {
        struct chunk *c = make_chunk(h, room_for(raw));
        if (c == NULL)
            return TC_ENOMEM;
        c->next = h->oldest;
        h->oldest = c;
    }
    h->start = (h->start + h->cap - 1) & (h->cap - 1);
    h->ring[h->start] = put(h, h->oldest, pos, raw);
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
