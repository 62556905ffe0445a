/* Tracks and flushing. See fan.h. */
#include "feed/fan.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/prefetch.h"
#include "feed/hub.h"
#include "http/batch.h"
#include "tokencast/error.h"

#include <assert.h>
#include <string.h>

#define SOON 4 /* subscribers */

void fan_init(struct fan *f, struct hub *hub, const struct fan_source *source) {
    *f = (struct fan){.hub = hub, .source = *source};
}

void fan_fini(struct fan *f) {
    tc_list_remove(&f->dirty);
    while (f->tracks != NULL) {
        struct track *next = f->tracks->next;
        track_destroy(f->tracks);
        f->tracks = next;
    }
}

static void on_trim(struct track *t, uint64_t new_tail) {
    for (uint32_t i = t->sub_count; i > 0; i--) /* downwards: one that leaves is replaced by one already seen */
        if (i <= t->sub_count)
            sub_rescue(t->subs[i - 1], new_tail);
}

static bool same_key(const struct track_key *a, const struct track_key *b) {
    return a->dialect == b->dialect && a->include == b->include && a->pace == b->pace && a->chunked == b->chunked;
}

static void drop_tracks(struct fan *f, bool (*useless)(const struct track *t)) {
    for (struct track **at = &f->tracks; *at != NULL;) {
        struct track *t = *at;
        if (!useless(t)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        track_destroy(t);
    }
}

static bool is_broken(const struct track *t) {
    return t->broken;
}

static bool is_empty(const struct track *t) {
    return t->sub_count == 0;
}

int fan_track(struct fan *f, const struct track_key *key, struct track **out) {
    struct track *t;
    drop_tracks(f, is_broken);
    for (t = f->tracks; t != NULL; t = t->next) {
        if (same_key(&t->key, key)) {
            *out = t;
            return 0;
        }
    }
    int err = track_create(&t, key, (size_t)f->hub->opts.lag_events, (size_t)f->hub->opts.lag_bytes, &f->hub->scratch);
    if (err == 0 && f->source.prime != NULL && (err = f->source.prime(f->source.arg, t)) != 0)
        track_destroy(t);
    if (err != 0)
        return err;
    said_init(&t->said, f->hub->said_point, false);
    t->on_trim = on_trim;
    t->ended = f->ended;
    t->beat_ms = hub_now_ms(f->hub);
    t->next = f->tracks;
    f->tracks = t;
    *out = t;
    return 0;
}

void fan_drop_empty_tracks(struct fan *f) {
    drop_tracks(f, is_empty);
}

void fan_touch(struct fan *f) {
    if (!tc_list_linked(&f->dirty))
        hub_mark_dirty(f->hub, &f->dirty);
}

/* A correction, in a form that can only append: who was told otherwise is cut off. Those who catch up compare what they
 * were told themselves. */
static void cut_told(struct fan *f, struct track *t) {
    for (uint32_t i = t->sub_count; i > 0; i--)
        if (i <= t->sub_count && t->subs[i - 1]->state == SUB_LIVE)
            sub_destroy(t->subs[i - 1], false);
    said_init(&t->said, f->hub->said_point, false);
}

/* What the pace held back may be lost, so that whoever came to the same track later would miss it. */
static void cut_off(struct fan *f, struct track *t) {
    t->broken = true;
    tc_log(TC_LOG_ERROR, "out of memory: subscribers of a track are cut off", TC_LI("subscribers", t->sub_count));
    f->hub->stats.no_memory++;
    while (t->sub_count > 0)
        sub_destroy(t->subs[t->sub_count - 1], false);
}

/* What a track relies on to write over what it has sent: once a flush is through, only the blocked are behind. */
TC_UNUSED static bool is_level(const struct track *t) {
    for (uint32_t i = 0; i < t->sub_count && t->todo == 0 && t->blocked == 0; i++)
        if (t->subs[i]->state == SUB_LIVE && t->subs[i]->off < t->head_off)
            return false;
    return true;
}

void fan_event(struct fan *f, struct tc_position pos, const struct dialect_event *in) {
    for (struct track *t = f->tracks; t != NULL; t = t->next) {
        assert(is_level(t));
        int err = t->broken ? 0 : track_event(t, pos, in);
        if (err == TC_ENOMEM)
            cut_off(f, t);
        else if (err == TC_ESTATE)
            cut_told(f, t);
    }
    fan_touch(f);
}

void fan_ahead(const struct fan *f, unsigned depth) {
    const struct track *t = f->tracks;
    if (t == NULL)
        return;
    if (depth == 0)
        tc_prefetch(t, offsetof(struct track, max_events));
    else if (depth == 1)
        track_ahead(t);
    else if (t->sub_count > 0 && depth == 2)
        tc_prefetch(t->subs[0], offsetof(struct sub, gap_from));
    else if (t->sub_count > 0)
        http_stream_ahead(t->subs[0]->conn);
}

void fan_control(struct fan *f, const struct dialect_control *in) {
    for (struct track *t = f->tracks; t != NULL; t = t->next)
        if (!t->broken && track_control(t, in) != 0)
            cut_off(f, t);
    fan_touch(f);
}

void fan_end(struct fan *f) {
    f->ended = true;
    for (struct track *t = f->tracks; t != NULL; t = t->next)
        if (!t->broken && track_end(t) != 0)
            cut_off(f, t);
    fan_touch(f);
}

void fan_reopen(struct fan *f) {
    assert(f->sub_count == 0);
    f->ended = false;
    for (struct track *t = f->tracks; t != NULL; t = t->next) {
        merge_reset(&t->merge, (struct tc_position){0, 0});
        said_init(&t->said, f->hub->said_point, false);
        t->ended = false;
    }
}

void fan_heartbeat(struct fan *f, uint64_t now_ms) {
    for (struct track *t = f->tracks; t != NULL; t = t->next) {
        if (t->head_off == t->beat_off && !t->ended && t->sub_count > 0) {
            if (now_ms - t->beat_ms < (uint64_t)f->hub->opts.heartbeat_ms)
                continue;
            if (track_heartbeat(t) != 0)
                cut_off(f, t);
            fan_touch(f);
        }
        t->beat_off = t->head_off;
        t->beat_ms = now_ms;
    }
}

struct retiring {
    struct hub *hub;
    uint64_t now_ms;
};

static void retire(struct sub *s, void *arg) {
    const struct retiring *r = arg;
    if (s->retires_ms == 0 || r->now_ms < s->retires_ms || s->state == SUB_ENDING || s->track->key.dialect->append_only)
        return;
    r->hub->stats.byes_age++;
    sub_end_with(s, "bye", TC_STR("{\"type\":\"bye\",\"reason\":\"age\"}"), (unsigned)tc_jitter(500, 50));
}

void fan_retire(struct fan *f, uint64_t now_ms) {
    struct retiring r = {f->hub, now_ms};
    uint64_t every = (uint64_t)f->hub->opts.max_age_ms / 64; /* far finer than the jitter, and rare */
    if (f->hub->opts.max_age_ms == 0 || now_ms - f->retired_ms < every)
        return;
    f->retired_ms = now_ms;
    fan_each_sub(f, retire, &r);
}

/* A source for one whose branch was lost, who is told only once what both branches say. */
static struct catchup *begin_anew(struct fan *f, const struct sub *s, struct tc_position pos) {
    struct catchup *c = f->source.catchup(f->source.arg, s->track, pos, true);
    if (c != NULL && c->said != NULL && s->state == SUB_LIVE)
        *c->said = s->track->said;
    else if (c != NULL && c->said != NULL && s->catchup != NULL && s->catchup->said != NULL)
        *c->said = *s->catchup->said;
    return c;
}

void fan_restart(struct fan *f, struct tc_position pos) {
    for (struct track *t = f->tracks; t != NULL; t = t->next) {
        merge_reset(&t->merge, pos);
        for (uint32_t i = t->sub_count; i > 0; i--)
            if (i <= t->sub_count)
                sub_restart(t->subs[i - 1], begin_anew(f, t->subs[i - 1], pos));
        said_init(&t->said, f->hub->said_point, false);
        t->todo = t->sub_count;
    }
    fan_touch(f);
}

TC_UNUSED static bool is_deserted(const struct track *t) {
    for (uint32_t i = 0; i < t->sub_count; i++)
        if (t->subs[i]->state == SUB_LIVE)
            return false;
    return true;
}

void fan_prime(struct fan *f) {
    for (struct track *t = f->tracks; t != NULL && f->source.prime != NULL; t = t->next) {
        assert(is_deserted(t));
        if (!t->broken && f->source.prime(f->source.arg, t) != 0)
            cut_off(f, t);
    }
}

void fan_each_sub(struct fan *f, void (*cb)(struct sub *s, void *arg), void *arg) {
    for (struct track *t = f->tracks; t != NULL; t = t->next)
        for (uint32_t i = t->sub_count; i > 0; i--)
            if (i <= t->sub_count)
                cb(t->subs[i - 1], arg);
}

static bool has_work(const struct sub *s) {
    if (s->blocked)
        return false;
    if (s->state == SUB_LIVE)
        return s->more || s->off < s->track->head_off || s->track->ended || s->gap_dropped > 0;
    return s->more || s->state == SUB_ENDING;
}

/* Of those whom the flush comes to soon: ten thousand readers do not stay in the caches. */
static void warm_soon(const struct track *t) {
    if (t->sub_count - t->hand > 2 * SOON) {
        tc_prefetch(t->subs[t->hand + 2 * SOON], offsetof(struct sub, gap_from));
        http_stream_ahead(t->subs[t->hand + SOON]->conn);
    }
}

static void flush_track(struct track *t, struct http_batch *batch, unsigned *budget) {
    while (t->todo > 0 && *budget > 0 && t->sub_count > 0) {
        if (t->hand >= t->sub_count)
            t->hand = 0;
        struct sub *s = t->subs[t->hand];
        t->todo--;
        warm_soon(t);
        if (!has_work(s)) {
            t->hand++;
            continue;
        }
        (*budget)--;
        if (!sub_batch(s, batch)) {
            http_batch_submit(batch); /* what a pump may set off finds nobody in between */
            sub_pump(s);
        }
        if (t->hand < t->sub_count && t->subs[t->hand] == s)
            t->hand++; /* else it left, and another stands in its place */
    }
    if (t->sub_count == 0)
        t->todo = 0;
}

bool fan_flush(struct fan *f, unsigned *budget) {
    bool left = false;
    for (struct track *t = f->tracks; t != NULL; t = t->next) {
        flush_track(t, f->hub->opts.batch, budget);
        left = left || t->todo > 0;
    }
    return left;
}
