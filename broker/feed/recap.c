/* Catch-ups shared by those who come at once. Loop thread; owned by the hub. See recap.h. */
#include "feed/recap.h"

static bool same_form(const struct track_key *a, const struct track_key *b) {
    return a->dialect == b->dialect && a->include == b->include && a->pace == b->pace && a->chunked == b->chunked;
}

static bool same(const struct recap_key *a, const struct recap_key *b) {
    return a->source == b->source && tc_position_cmp(a->after, b->after) == 0 && same_form(&a->form, &b->form);
}

static void drop(struct recap_slot *s) {
    tc_buf_fini(&s->bytes);
    *s = (struct recap_slot){0};
}

static struct recap_slot *find(struct recap *r, const struct recap_key *key) {
    for (size_t i = 0; i < RECAP_SLOTS; i++)
        if (r->slots[i].taken && same(&r->slots[i].key, key))
            return &r->slots[i];
    return NULL;
}

/* A free one, or the one used longest ago. */
static struct recap_slot *oldest(struct recap *r) {
    struct recap_slot *best = &r->slots[0];
    for (size_t i = 1; i < RECAP_SLOTS && best->taken; i++)
        if (!r->slots[i].taken || r->slots[i].used_ms < best->used_ms)
            best = &r->slots[i];
    return best;
}

const struct recap_slot *recap_find(struct recap *r, const struct recap_key *key, const struct history *h,
                                    size_t *index, uint64_t now_ms) {
    struct recap_slot *s = find(r, key);
    if (s == NULL || history_after(h, s->end.to, index) != HISTORY_FOUND || h->count - *index > RECAP_AGE)
        return NULL;
    s->used_ms = now_ms;
    return s;
}

void recap_keep(struct recap *r, const struct recap_key *key, const struct recap_end *end, const struct tc_buf *out,
                size_t mark, uint64_t now_ms) {
    size_t n = out->len - mark;
    if (end->events < RECAP_MIN || !tc_buf_ok(out) || n == 0 || n > RECAP_BYTES)
        return;
    struct recap_slot *s = find(r, key);
    if (s == NULL)
        s = oldest(r);
    drop(s);
    tc_buf_init(&s->bytes, 0);
    tc_buf_append(&s->bytes, out->data + mark, n);
    if (!tc_buf_ok(&s->bytes)) {
        drop(s);
        return;
    }
    s->key = *key;
    s->end = *end;
    s->used_ms = now_ms;
    s->taken = true;
}

void recap_forget(struct recap *r, const void *source) {
    for (size_t i = 0; i < RECAP_SLOTS; i++)
        if (r->slots[i].key.source == source)
            drop(&r->slots[i]);
}

void recap_expire(struct recap *r, uint64_t now_ms) {
    for (size_t i = 0; i < RECAP_SLOTS; i++)
        if (r->slots[i].taken && now_ms - r->slots[i].used_ms >= RECAP_KEEP_MS)
            drop(&r->slots[i]);
}

void recap_fini(struct recap *r) {
    for (size_t i = 0; i < RECAP_SLOTS; i++)
        drop(&r->slots[i]);
}
