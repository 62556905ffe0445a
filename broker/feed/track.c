/* Segments and frame index of one wire form. Loop thread; owned by its fan. See track.h. */
#include "feed/track.h"

#include "base/prefetch.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT_MIN 2048
#define SEGMENT_MAX 65536
#define AHEAD       128 /* bytes of a frame, mostly */

static int emit_paced(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw);

int track_create(struct track **out, const struct track_key *key, size_t max_events, size_t max_bytes,
                 struct tc_buf *scratch) {
    struct track *t = calloc(1, sizeof *t);
    if (t == NULL)
        return TC_ENOMEM;
    t->key = *key;
    t->max_events = max_events;
    t->max_bytes = max_bytes;
    t->scratch = scratch;
    merge_init(&t->merge, key->pace, SEGMENT_MAX, emit_paced, t);
    *out = t;
    return 0;
}

void track_destroy(struct track *t) {
    if (t == NULL)
        return;
    while (t->first != NULL) {
        struct segment *next = t->first->next;
        free(t->first);
        t->first = next;
    }
    merge_fini(&t->merge);
    free(t->frames);
    free(t->subs);
    free(t);
}

static int grow_frames(struct track *t) {
    if (t->frame_next - t->frame_first < t->frame_cap)
        return 0;
    size_t cap = t->frame_cap ? t->frame_cap * 2 : 16;
    struct frame *frames = malloc(cap * sizeof *frames);
    if (frames == NULL)
        return TC_ENOMEM;
    for (uint64_t n = t->frame_first; n < t->frame_next; n++)
        frames[n & (cap - 1)] = *track_frame(t, n);
    free(t->frames);
    t->frames = frames;
    t->frame_cap = cap;
    return 0;
}

/* Room for a frame of n bytes in the last segment. A frame never crosses a segment border. */
static int grow_segments(struct track *t, size_t n) {
    if (t->last != NULL && t->last->cap - t->last->len >= n)
        return 0;
    size_t cap = t->last ? (size_t)t->last->cap * 2 : SEGMENT_MIN;
    if (cap > SEGMENT_MAX)
        cap = SEGMENT_MAX;
    if (cap < n)
        cap = n;
    struct segment *s = malloc(sizeof *s + cap);
    if (s == NULL)
        return TC_ENOMEM;
    *s = (struct segment){.base = t->head_off, .frame = t->frame_next, .cap = (uint32_t)cap};
    if (t->last != NULL)
        t->last->next = s;
    else
        t->first = s;
    t->last = s;
    return 0;
}

/* Gives back whole segments that lie before the bounds; the newest segment always stays. */
static void trim(struct track *t) {
    while (t->first != t->last) {
        uint64_t end = t->first->next->base, keep = t->first->next->frame;
        if (t->head_off - end < t->max_bytes && t->frame_next - keep < t->max_events)
            return;
        if (t->on_trim != NULL)
            t->on_trim(t, end);
        t->tail_pos = track_frame(t, keep - 1)->pos;
        t->frame_first = keep;
        t->tail_off = end;
        struct segment *old = t->first;
        t->first = old->next;
        free(old);
    }
}

/* Nobody needs what was appended; the memory is written again. */
static void recycle(struct track *t) {
    while (t->first != t->last) {
        struct segment *old = t->first;
        t->first = old->next;
        free(old);
    }
    t->tail_off = t->head_off;
    t->tail_pos = t->pos;
    t->frame_first = t->frame_next;
    if (t->last != NULL) {
        t->last->base = t->head_off;
        t->last->frame = t->frame_next;
        t->last->len = 0;
    }
}

void track_begin(struct track *t, struct tc_position pos) {
    t->pos = pos;
    recycle(t);
}

/* `like` says what the frame is; where it begins is set here. */
static int append(struct track *t, struct tc_str bytes, struct frame like) {
    if (bytes.n == 0)
        return 0;
    if (t->todo == 0 && t->blocked == 0)
        recycle(t); /* everybody has been sent everything */
    if (bytes.n > UINT32_MAX || grow_frames(t) != 0 || grow_segments(t, bytes.n) != 0)
        return TC_ENOMEM;
    like.off = t->head_off;
    t->frames[t->frame_next & (t->frame_cap - 1)] = like;
    t->frame_next++;
    memcpy(t->last->data + t->last->len, bytes.p, bytes.n);
    t->last->len += (uint32_t)bytes.n;
    t->head_off += bytes.n;
    t->pos = like.pos;
    t->todo = t->sub_count;
    trim(t);
    return 0;
}

static bool must_keep(const struct tc_event *ev) {
    switch (ev->type) {
    case TC_EV_DELTA:
    case TC_EV_NOTE:
    case TC_EV_UNKNOWN:
        return false;
    case TC_EV_TOOL_CALL:
        return ev->done;
    default:
        return true;
    }
}

static int append_event(struct track *t, struct tc_position pos, struct tc_position reach,
                        const struct dialect_event *in) {
    tc_buf_reset(t->scratch);
    int err = frame_news(t->scratch, &t->key, &t->said, in);
    if (err != 0)
        return err;
    if (!tc_buf_ok(t->scratch))
        return TC_ENOMEM;
    return append(t, tc_buf_str(t->scratch), (struct frame){.pos = pos, .reach = reach, .keep = must_keep(in->ev)});
}

static int emit_paced(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct track *t = arg;
    char id[TC_POSITION_MAX];
    struct dialect_event in = {.ev = ev, .raw = raw, .id = {id, tc_position_format(pos, id)}};
    return append_event(t, pos, t->merge.last, &in);
}

int track_event(struct track *t, struct tc_position pos, const struct dialect_event *in) {
    if (!track_includes(t->key.include, in->ev))
        return 0;
    if (t->key.pace == PACE_TOKEN)
        return append_event(t, pos, pos, in);
    int err = merge_push(&t->merge, pos, in->ev, in->raw);
    return err != 0 ? err : merge_flush(&t->merge);
}

void track_ahead(const struct track *t) {
    if (t->frames != NULL)
        tc_prefetch(track_frame(t, t->frame_next), sizeof(struct frame));
    if (t->last != NULL)
        tc_prefetch(t->last, sizeof(struct segment) + AHEAD);
    tc_prefetch(t->subs, sizeof(struct sub *));
}

/* What the pace holds back came before what is said now. */
static int release_held(struct track *t) {
    enum pace pace = t->merge.pace;
    t->merge.pace = PACE_TOKEN;
    int err = merge_flush(&t->merge);
    t->merge.pace = pace;
    return err;
}

int track_control(struct track *t, const struct dialect_control *in) {
    /* A status is about no position, and those who join now hold the same text back themselves. */
    int err = strcmp(in->type, "status") == 0 ? 0 : release_held(t);
    if (err != 0)
        return err;
    tc_buf_reset(t->scratch);
    frame_control(t->scratch, &t->key, in);
    if (!tc_buf_ok(t->scratch))
        return TC_ENOMEM;
    return append(t, tc_buf_str(t->scratch), (struct frame){.pos = t->pos, .reach = t->pos, .keep = true});
}

int track_heartbeat(struct track *t) {
    tc_buf_reset(t->scratch);
    frame_heartbeat(t->scratch, &t->key);
    if (!tc_buf_ok(t->scratch))
        return TC_ENOMEM;
    return append(t, tc_buf_str(t->scratch), (struct frame){.pos = t->pos, .reach = t->pos, .silent = true});
}

int track_end(struct track *t) {
    int err = release_held(t);
    if (err != 0)
        return err;
    tc_buf_reset(t->scratch);
    frame_end(t->scratch, &t->key);
    if (!tc_buf_ok(t->scratch))
        return TC_ENOMEM;
    err = append(t, tc_buf_str(t->scratch), (struct frame){.pos = t->pos, .reach = t->pos, .keep = true});
    if (err == 0) {
        t->ended = true;
        t->todo = t->sub_count;
    }
    return err;
}

static const struct segment *segment_at(const struct track *t, uint64_t off) {
    if (off >= t->last->base)
        return t->last; /* nearly always: the reader is close behind */
    const struct segment *s = t->first;
    while (s->next != NULL && off >= s->next->base)
        s = s->next;
    return s;
}

int track_iov(const struct track *t, uint64_t off, struct iovec *iov, int n, size_t *bytes) {
    *bytes = 0;
    if (off >= t->head_off)
        return 0;
    int used = 0;
    for (const struct segment *s = segment_at(t, off); s != NULL && used < n; s = s->next) {
        size_t skip = (size_t)(off - s->base);
        iov[used].iov_base = (void *)(uintptr_t)(s->data + skip);
        iov[used].iov_len = s->len - skip;
        *bytes += iov[used].iov_len;
        off = s->base + s->len;
        used++;
    }
    return used;
}

uint64_t track_frame_at(const struct track *t, uint64_t off) {
    uint64_t lo = t->frame_first, hi = t->frame_next; /* first frame that begins after off lies in (lo, hi] */
    if (off >= t->head_off)
        return t->frame_next;
    while (hi - lo > 1) {
        uint64_t mid = lo + (hi - lo) / 2;
        if (track_frame(t, mid)->off <= off)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

void track_copy(const struct track *t, uint64_t from, uint64_t to, struct tc_buf *out) {
    for (const struct segment *s = t->first; s != NULL && from < to; s = s->next) {
        uint64_t end = s->base + s->len;
        if (from >= end)
            continue;
        uint64_t stop = end < to ? end : to;
        tc_buf_append(out, s->data + (from - s->base), (size_t)(stop - from));
        from = stop;
    }
}
