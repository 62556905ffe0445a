/* A ring of waiting callbacks (see fifo.h). Loop thread; owned by one struct tc_conn. */
#include "redis/fifo.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAP 64

void tc_fifo_fini(struct tc_fifo *f) {
    free(f->ring);
    memset(f, 0, sizeof(*f));
}

static int grow(struct tc_fifo *f) {
    size_t cap = f->cap ? f->cap * 2 : FIRST_CAP;
    struct tc_fifo_entry *ring = calloc(cap, sizeof(*ring));
    if (!ring)
        return TC_ENOMEM;
    for (size_t i = 0; i < f->count; i++)
        ring[i] = f->ring[(f->head + i) & (f->cap - 1)];
    free(f->ring);
    f->ring = ring;
    f->cap = cap;
    f->head = 0;
    return 0;
}

int tc_fifo_push(struct tc_fifo *f, struct tc_fifo_entry e) {
    if (f->count == f->cap) {
        int rc = grow(f);
        if (rc)
            return rc;
    }
    f->ring[(f->head + f->count) & (f->cap - 1)] = e;
    f->count++;
    return 0;
}

const struct tc_fifo_entry *tc_fifo_peek(const struct tc_fifo *f) {
    return f->count > 0 ? &f->ring[f->head] : NULL;
}

bool tc_fifo_pop(struct tc_fifo *f, struct tc_fifo_entry *out) {
    if (f->count == 0)
        return false;
    *out = f->ring[f->head];
    f->head = (f->head + 1) & (f->cap - 1);
    f->count--;
    return true;
}
