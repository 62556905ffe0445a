/* A reader's way to the head of a generation. Happy path: step -> (page of the log -> step)* -> history -> HEAD or END.
 * Fails: Redis away: WAIT until the feed wakes us; a wire form that cannot say what is missing: FAIL. */
#include "feed/replay.h"

#include "feed/gap.h"
#include "feed/status.h"
#include "feed/tail.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <stdlib.h>

#define PAGE_ENTRIES 128
#define MERGED_BYTES 32768 /* of text in one merged delta */

struct replay;

struct page {             /* outlives a replay that goes away while Redis is answering */
    struct replay *owner; /* NULL once it went */
};

struct replay {
    struct catchup base;
    struct feed *feed;
    struct track_key key;
    struct merge merge;
    struct said said;        /* in a form that can only append */
    struct tc_buf *out;      /* valid during a step */
    struct tc_buf pages;     /* encoded while nobody was stepping */
    struct tc_position next; /* everything up to here was dealt with */
    struct tc_position until;
    bool bounded;
    bool checked; /* `next` is known to lie on the log's present branch */
    bool ended;   /* done or until was given out */
    bool failed;  /* cannot go on in this wire form */
    struct page *page;
    uint64_t ahead_ms;      /* since when `next` has been ahead of the log; 0 = it is not */
    bool compared;          /* … and the log's end was read since: */
    struct tc_position end; /* this it was */
    enum feed_status told;  /* to the reader; STATUS_NONE = it is not to be told */
    uint64_t beat_ms;       /* loop time of the last output while waiting */
    bool lost;              /* to be told at the first step */
    struct feed_wait wait;
    struct replay_label label; /* id NULL = none: the position is the id */
    struct tc_buf id;          /* scratch: what the reader comes back with */
};

static void ready(void *arg) {
    struct replay *r = arg;
    if (r->base.ready != NULL)
        r->base.ready(r->base.arg);
}

/* What the reader comes back with from pos; ev as in replay_label. Not ok: no memory. */
static struct tc_buf *write_id(struct replay *r, struct tc_position pos, const struct tc_event *ev) {
    tc_buf_reset(&r->id);
    if (r->label.id != NULL) {
        r->label.id(r->label.arg, pos, ev, &r->id);
    } else {
        char text[TC_POSITION_MAX];
        tc_buf_append(&r->id, text, tc_position_format(pos, text));
    }
    return &r->id;
}

static int emit(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct replay *r = arg;
    const struct tc_buf *id = write_id(r, pos, ev);
    if (!tc_buf_ok(id))
        return TC_ENOMEM;
    struct dialect_event in = {.id = tc_buf_str(id), .ev = ev, .raw = raw, .extra = r->label.extra};
    int err = frame_news(r->out, &r->key, &r->said, &in);
    return err == TC_ESYNTAX || err == TC_ETOOLARGE ? 0 : err; /* was counted when the feed read it */
}

/* `id`: what the reader comes back with from now on; n = 0: what it had. */
static void say_gap(struct replay *r, struct tc_position from, struct tc_position to, const char *reason,
                    struct tc_str id) {
    if (r->key.dialect->append_only) {
        r->failed = true;
        return;
    }
    char room[384];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_json_of(&json, r->label.extra, from, to, to.seq >= from.seq ? to.seq - from.seq + 1 : 0, reason);
    frame_control(r->out, &r->key, &(struct dialect_control){.type = "gap", .json = tc_buf_str(&json), .id = id});
}

static void say_trimmed(struct replay *r, struct tc_position first_kept) {
    struct tc_position from = {r->next.attempt, r->next.seq + 1}, to = {first_kept.attempt, first_kept.seq - 1};
    if (merge_flush(&r->merge) != 0)
        r->failed = true;
    merge_reset(&r->merge, r->next);
    say_gap(r, from, to, "trimmed", (struct tc_str){NULL, 0});
    r->feed->hub->stats.gaps_trimmed++;
    r->next = to;
    r->checked = true;
}

/* The reader stood on a branch that is gone: it forgets what it has and gets the log from its start. It forgets its
 * position too: one who comes back with it when a worker has written it again would get only the rest. */
static void say_lost(struct replay *r) {
    const struct tc_position start = {0, 0};
    merge_reset(&r->merge, start);
    const struct tc_buf *id = write_id(r, start, NULL);
    if (r->key.dialect->append_only)
        r->failed = r->failed || said_rewind(&r->said) != 0; /* what is told again is compared */
    else
        say_gap(r, (struct tc_position){0, 1}, r->next, "lost", tc_buf_str(id));
    r->failed = r->failed || !tc_buf_ok(id);
    r->feed->hub->stats.gaps_lost++;
    r->next = start;
    r->checked = true;
    r->ahead_ms = 0;
}

static int take(struct replay *r, struct tc_position pos, struct tc_str raw) {
    if (r->bounded && tc_position_cmp(pos, r->until) > 0) {
        r->ended = true;
        return 0;
    }
    struct tc_event ev;
    if (tc_event_decode(raw.p, raw.n, &ev) == 0 && ev.type != TC_EV_FENCE) {
        if (track_includes(r->key.include, &ev)) {
            int err = merge_push(&r->merge, pos, &ev, raw);
            if (err != 0)
                return err;
        }
        if (ev.type == TC_EV_DONE)
            r->ended = true;
    }
    r->next = pos;
    if (r->bounded && tc_position_cmp(pos, r->until) == 0)
        r->ended = true;
    return 0;
}

static void take_page(struct replay *r, const redisReply *reply) {
    struct tc_reply_entry e;
    for (size_t i = 0; i < reply->elements && !r->ended && !r->failed; i++) {
        if (tc_reply_entry(reply, i, &e) != 0 || e.position.seq == 0)
            continue; /* a fence, or something that is no entry of ours */
        if (!r->checked && r->next.seq > 0) {
            if (tc_position_cmp(e.position, r->next) == 0) {
                r->checked = true;
                continue;
            }
            /* Trimmed past it under another attempt: nothing tells any more whether it was on this branch. */
            if (e.position.seq <= r->next.seq || e.position.attempt != r->next.attempt) {
                say_lost(r);
                return;
            }
        }
        r->checked = true;
        if (tc_position_cmp(e.position, r->next) <= 0)
            continue;
        if (e.position.seq > r->next.seq + 1)
            say_trimmed(r, e.position);
        if (take(r, e.position, e.e) != 0)
            r->failed = true;
    }
}

static enum catchup_result wait_for_feed(struct replay *r) {
    if (!tc_list_linked(&r->wait.node))
        feed_wait_add(r->feed, &r->wait);
    return CATCHUP_WAIT;
}

static void on_page(void *arg, int err, const redisReply *reply) {
    struct page *page = arg;
    struct replay *r = page->owner;
    free(page);
    if (r == NULL)
        return;
    r->page = NULL;
    if (err == 0 && reply->type == REDIS_REPLY_ARRAY) {
        struct tc_position before = r->next;
        bool was_checked = r->checked;
        r->out = &r->pages;
        take_page(r, reply);
        bool stuck = !r->failed && !r->ended && tc_position_cmp(before, r->next) == 0 && was_checked == r->checked;
        bool ends_here = stuck && r->next.seq > 0 && r->checked && reply->elements > 0;
        if (stuck && r->next.seq > 0 && !r->checked)
            say_lost(r); /* nothing at or after it although the log reaches that far: it is not of this branch */
        else if (stuck && !ends_here && r->feed->history.count > 0)
            say_trimmed(r, history_at(&r->feed->history, 0)->pos);
        r->failed = r->failed || !tc_buf_ok(&r->pages); /* half a page */
        r->out = NULL;
        if (ends_here && wait_for_feed(r) == CATCHUP_WAIT) /* a failover took what the feed has: it will notice */
            return;
    }
    ready(r);
}

static enum catchup_result ask_page(struct replay *r) {
    if (r->page != NULL)
        return CATCHUP_WAIT;
    r->page = calloc(1, sizeof *r->page);
    if (r->page == NULL)
        return CATCHUP_FAIL;
    r->page->owner = r;
    char from[TC_POSITION_MAX];
    tc_position_format(r->next, from);
    int err = tc_redis_command(r->feed->hub->redis, tc_str_from(r->feed->log_key), on_page, r->page,
                               "XRANGE %s %s + COUNT %d", r->feed->log_key, from, PAGE_ENTRIES);
    if (err == 0) {
        r->feed->hub->stats.log_reads++;
        return CATCHUP_WAIT;
    }
    free(r->page);
    r->page = NULL;
    return wait_for_feed(r);
}

/* Is the log, which `next` is ahead of, another branch? Yes if it has ended, if it grows under a lower attempt (which
 * the higher one's fence would have stopped), or if it was read once more after a lease and still had not got there. */
static bool is_other_branch(struct replay *r) {
    struct feed *f = r->feed;
    if (f->ended)
        return true;
    if (!r->compared && !f->reading && f->looked_ms >= r->ahead_ms) {
        r->compared = true;
        r->end = f->last;
    }
    if (r->compared && f->last.attempt < r->next.attempt && tc_position_cmp(f->last, r->end) > 0)
        return true;
    return f->looked_ms >= r->ahead_ms + (uint64_t)f->hub->opts.lease_ms;
}

/* A position that the log has not reached: legitimate while the reader is ahead of this broker, or while a worker
 * writes again what a failover lost. Time in which the log cannot be read does not count. */
static enum catchup_result ahead(struct replay *r) {
    struct feed *f = r->feed;
    uint64_t now = hub_now_ms(f->hub);
    if (r->ahead_ms == 0) {
        r->ahead_ms = now > 0 ? now : 1;
        r->compared = false;
    }
    if (is_other_branch(r)) {
        say_lost(r);
        return r->failed ? CATCHUP_FAIL : CATCHUP_MORE;
    }
    bool due = now - r->ahead_ms >= (uint64_t)f->hub->opts.lease_ms;
    if (!f->reading && (!r->compared || due))
        tail_read(f);
    return wait_for_feed(r);
}

static void say_status(struct replay *r) {
    struct feed *f = r->feed;
    if (r->told == STATUS_NONE || f->state != FEED_READY || f->ended)
        return;
    enum feed_status now = status_of(f);
    bool news = r->told == STATUS_UNKNOWN ? f->restated : r->told != now;
    r->told = now;
    if (!news)
        return;
    char room[192];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    status_json(&json, r->label.extra, now);
    frame_control(r->out, &r->key, &(struct dialect_control){.type = "status", .json = tc_buf_str(&json)});
}

/* A reader that has to wait is shown that its connection is alive, as those at the head are by their track. */
static void say_alive(struct replay *r) {
    uint64_t now = hub_now_ms(r->feed->hub);
    if (r->told == STATUS_NONE)
        return;
    say_status(r);
    if (r->out->len > 0 || r->beat_ms == 0) {
        r->beat_ms = now;
    } else if (now - r->beat_ms >= (uint64_t)r->feed->hub->opts.heartbeat_ms) {
        frame_heartbeat(r->out, &r->key);
        r->beat_ms = now;
    }
}

/* The log is gone: the end, without ids. */
static enum catchup_result say_gone(struct replay *r) {
    struct feed *f = r->feed;
    if (f->gone_code == NULL || r->key.dialect->append_only || merge_flush(&r->merge) != 0)
        return CATCHUP_FAIL;
    char room[512];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_error_json(&json, r->label.extra, f->gone_code, f->gone_message);
    frame_control(r->out, &r->key, &(struct dialect_control){.type = "error", .json = tc_buf_str(&json)});
    json.len = 0;
    gap_done_json(&json, r->label.extra);
    frame_control(r->out, &r->key, &(struct dialect_control){.type = "done", .json = tc_buf_str(&json)});
    return CATCHUP_END;
}

static enum catchup_result finish(struct replay *r) {
    enum pace pace = r->merge.pace;
    r->merge.pace = PACE_TOKEN; /* the end gives out everything */
    int err = merge_flush(&r->merge);
    r->merge.pace = pace;
    return err == 0 && !r->failed && said_is_level(&r->said) ? CATCHUP_END : CATCHUP_FAIL;
}

/* At the head: may the reader go on with those who stand there? In a form that can only append, once it has been told
 * the same as they. */
static enum catchup_result join_track(struct replay *r) {
    struct track *t;
    if (!r->key.dialect->append_only)
        return CATCHUP_HEAD;
    if (fan_track(&r->feed->fan, &r->key, &t) != 0)
        return CATCHUP_FAIL;
    if (t->sub_count <= 1)
        t->said = r->said;
    int err = said_join(&t->said, &r->said);
    if (err == TC_EAGAIN)
        return wait_for_feed(r);
    return err == 0 ? CATCHUP_HEAD : CATCHUP_FAIL;
}

/* A restart makes void what was said before it: a reader of bare text who has nothing yet begins there. */
static void pass_over_void(struct replay *r) {
    const struct history *h = &r->feed->history;
    struct tc_event ev;
    if (!r->key.dialect->append_only || r->bounded || r->next.seq > 0 || !r->said.whole || r->said.units > 0)
        return;
    for (size_t i = h->count; i > 0; i--) {
        const struct entry *e = history_at(h, i - 1);
        if (tc_event_decode(e->bytes, e->len, &ev) == 0 && ev.type == TC_EV_ATTEMPT &&
            !tc_str_is(ev.mode, "continue")) {
            r->next = e->pos;
            return;
        }
    }
}

/* Only what every reader of this form at this position would get, byte for byte. */
static bool is_shared(const struct replay *r) {
    return r->key.pace == PACE_TOKEN && !r->key.dialect->append_only && !r->bounded && !r->merge.holding &&
           r->label.id == NULL && r->label.extra == NULL;
}

/* Takes what was built for another reader; *i goes on after it. */
static bool take_recap(struct replay *r, const struct recap_key *from, size_t *i, size_t limit) {
    struct hub *hub = r->feed->hub;
    size_t on;
    const struct recap_slot *s = recap_find(&hub->recap, from, &r->feed->history, &on, hub_now_ms(hub));
    if (s == NULL || r->out->len + s->bytes.len > limit)
        return false;
    tc_buf_put_str(r->out, tc_buf_str(&s->bytes));
    merge_reset(&r->merge, s->end.to);
    r->next = s->end.to;
    r->ended = s->end.ended;
    *i = on;
    return true;
}

static enum catchup_result from_history(struct replay *r, size_t i, size_t limit) {
    const struct history *h = &r->feed->history;
    r->checked = true;
    r->ahead_ms = 0;
    const struct recap_key from = {.source = r->feed, .form = r->key, .after = r->next};
    const bool alone = is_shared(r) && !take_recap(r, &from, &i, limit);
    const size_t first = i, mark = r->out->len;
    for (; i < h->count && !r->ended && !r->failed; i++) {
        if (r->out->len >= limit)
            return CATCHUP_MORE;
        const struct entry *e = history_at(h, i);
        if (take(r, e->pos, (struct tc_str){e->bytes, e->len}) != 0)
            return CATCHUP_FAIL;
    }
    if (r->failed)
        return CATCHUP_FAIL;
    if (!r->ended && merge_flush(&r->merge) != 0)
        return CATCHUP_FAIL;
    if (alone)
        recap_keep(&r->feed->hub->recap, &from, &(struct recap_end){r->next, r->ended, i - first}, r->out, mark,
                   hub_now_ms(r->feed->hub));
    if (r->ended)
        return finish(r);
    if (r->bounded && r->feed->state == FEED_READY)
        return wait_for_feed(r);
    enum catchup_result result = join_track(r);
    if (result == CATCHUP_HEAD)
        say_status(r);
    return result;
}

/* The log is gone: what the history still holds, then why. */
static enum catchup_result step_failed(struct replay *r, size_t limit) {
    size_t i = 0;
    if (history_after(&r->feed->history, r->next, &i) != HISTORY_FOUND)
        return say_gone(r);
    enum catchup_result result = from_history(r, i, limit);
    return result == CATCHUP_HEAD ? say_gone(r) : result;
}

static enum catchup_result step_on(struct replay *r, size_t limit) {
    size_t i = 0;
    pass_over_void(r);
    enum history_place place = history_after(&r->feed->history, r->next, &i);
    bool joins = place == HISTORY_OLDER && r->checked && r->feed->history.count > 0 &&
                 r->next.seq + 1 == history_at(&r->feed->history, 0)->pos.seq;
    if (place == HISTORY_FOUND || joins)
        return from_history(r, i, limit);
    if (place == HISTORY_OLDER)
        return ask_page(r);
    if (place == HISTORY_NEWER)
        return ahead(r);
    say_lost(r);
    return r->failed ? CATCHUP_FAIL : CATCHUP_MORE;
}

static enum catchup_result step(struct catchup *c, struct tc_buf *out, size_t limit) {
    struct replay *r = TC_CONTAINER_OF(c, struct replay, base);
    enum catchup_result result;
    r->out = out;
    if (r->pages.len > 0) {
        tc_buf_put_str(out, tc_buf_str(&r->pages));
        tc_buf_reset(&r->pages);
        if (!r->failed)
            return r->ended ? finish(r) : CATCHUP_MORE;
    }
    if (r->failed)
        return CATCHUP_FAIL;
    if (r->lost) {
        r->lost = false;
        say_lost(r);
        return r->failed ? CATCHUP_FAIL : CATCHUP_MORE;
    }
    if (r->ended)
        return finish(r);
    if (r->page != NULL)
        return CATCHUP_WAIT;
    if (r->feed->state == FEED_FAILED)
        return step_failed(r, limit);
    result = r->feed->state == FEED_READY ? step_on(r, limit) : wait_for_feed(r);
    if (result == CATCHUP_WAIT)
        say_alive(r);
    r->out = NULL;
    return result;
}

static void destroy(struct catchup *c) {
    struct replay *r = TC_CONTAINER_OF(c, struct replay, base);
    if (r->page != NULL)
        r->page->owner = NULL;
    feed_wait_remove(&r->wait);
    merge_fini(&r->merge);
    tc_buf_fini(&r->pages);
    tc_buf_fini(&r->id);
    feed_unref(r->feed);
    free(r);
}

struct catchup *replay_create(struct feed *f, const struct track_key *key, struct tc_position after,
                              const struct tc_position *until, bool lost) {
    struct replay *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->base = (struct catchup){.step = step, .destroy = destroy};
    r->feed = f;
    r->key = *key;
    if (after.seq == 0)
        after.attempt = 0; /* a fence: nothing was read yet */
    r->next = after;
    r->bounded = until != NULL;
    if (until != NULL)
        r->until = *until;
    r->lost = lost;
    said_init(&r->said, f->hub->said_point, after.seq == 0);
    if (key->dialect->append_only)
        r->base.said = &r->said;
    r->wait = (struct feed_wait){.cb = ready, .arg = r};
    merge_init(&r->merge, key->pace, MERGED_BYTES, emit, r);
    merge_reset(&r->merge, after);
    feed_ref(f);
    return &r->base;
}

void replay_tell_status(struct catchup *c, enum feed_status told) {
    TC_CONTAINER_OF(c, struct replay, base)->told = told;
}

void replay_label(struct catchup *c, const struct replay_label *label) {
    TC_CONTAINER_OF(c, struct replay, base)->label = *label;
}

struct tc_position replay_position(const struct catchup *c) {
    return ((const struct replay *)c)->next; /* base is its first member */
}

void replay_wait(struct catchup *c) {
    (void)wait_for_feed(TC_CONTAINER_OF(c, struct replay, base));
}
