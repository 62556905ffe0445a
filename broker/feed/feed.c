/* A generation's feed: lifetime, state, and handing events to those who listen. The tail drives it. See feed.h. */
#include "feed/feed.h"

#include "base/clock.h"
#include "base/log.h"
#include "feed/gap.h"
#include "feed/liveness.h"
#include "feed/presence.h"
#include "feed/replay.h"
#include "feed/status.h"
#include "feed/tail.h"
#include "feed/vanish.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

static struct catchup *catchup_for(void *arg, const struct track *track, struct tc_position pos, bool lost) {
    struct catchup *c = replay_create(arg, &track->key, pos, NULL, lost);
    if (c != NULL)
        replay_tell_status(c, STATUS_UNKNOWN);
    return c;
}

static int note_position(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct tc_position *given = arg;
    (void)ev;
    (void)raw;
    *given = pos;
    return 0;
}

/* A track begins where the log ends. A paced one must hold back what one that had been there from the start would hold
 * back now, and begins behind what that would have given out; {0,0}: before what is kept. */
static int prime(void *arg, struct track *t) {
    struct feed *f = arg;
    struct tc_position given = {0, 0};
    int err = 0;
    if (t->key.pace == PACE_TOKEN) {
        track_begin(t, f->last);
        return 0;
    }
    merge_emit emit = t->merge.emit;
    t->merge.emit = note_position;
    t->merge.arg = &given;
    for (size_t i = 0; i < f->history.count && err == 0; i++) {
        const struct entry *e = history_at(&f->history, i);
        struct tc_event ev;
        struct tc_str raw = {e->bytes, e->len};
        if (tc_event_decode(raw.p, raw.n, &ev) != 0 || !track_includes(t->key.include, &ev))
            continue;
        err = merge_push(&t->merge, e->pos, &ev, raw);
        if (err == 0)
            err = merge_flush(&t->merge);
    }
    t->merge.emit = emit;
    t->merge.arg = t;
    track_begin(t, given);
    return err;
}

struct feed *feed_find(struct hub *h, const char *id) {
    struct feed *f;
    HASH_FIND_STR(h->feeds, id, f);
    return f;
}

static bool is_used(const struct feed *f) {
    return f->refs > 0 || f->fan.sub_count > 0;
}

/* What was read of the log, which is not there any more, or another one. */
static void forget(struct feed *f) {
    history_clear(&f->history);
    recap_forget(&f->hub->recap, f);
    f->last = (struct tc_position){0, 0};
    f->behind_ms = 0;
    f->started = f->ended = f->cancelled = f->failed = f->stalled = false;
    f->gone_code = f->gone_message = NULL;
}

/* Nobody reads it, and it was not there: it may be by now, or again. Without memory that is what is told. */
static void revive(struct feed *f) {
    forget(f);
    fan_reopen(&f->fan);
    f->err = tail_start(f);
}

int feed_get(struct hub *h, const char *id, struct feed **out) {
    struct feed *f = feed_find(h, id);
    if (f != NULL) {
        if (f->state == FEED_FAILED && !is_used(f))
            revive(f);
        feed_ref(f);
        *out = f;
        return 0;
    }
    if (HASH_COUNT(h->feeds) >= (unsigned)h->opts.max_feeds)
        return TC_EFULL;
    f = calloc(1, sizeof *f);
    if (f == NULL)
        return TC_ENOMEM;
    f->hub = h;
    f->refs = 1;
    memcpy(f->id, id, strlen(id) + 1);
    tc_key_gen(f->log_key, h->opts.prefix, TC_KEY_LOG, id);
    tc_key_gen(f->meta_key, h->opts.prefix, TC_KEY_META, id);
    tc_list_init(&f->waits);
    tc_list_init(&f->listeners);
    history_init(&f->history, (size_t)h->opts.lag_events, (size_t)h->opts.lag_bytes);
    fan_init(&f->fan, h, &(struct fan_source){.catchup = catchup_for, .prime = prime, .arg = f});
    tc_list_add_tail(&h->turns, &f->turn);
    HASH_ADD_STR(h->feeds, id, f);
    h->stats.feeds += f->hh.tbl != NULL;
    int err = f->hh.tbl == NULL ? TC_ENOMEM : tail_start(f);
    if (err != 0) {
        feed_destroy(f);
        return err;
    }
    *out = f;
    return 0;
}

void feed_ref(struct feed *f) {
    f->refs++;
}

void feed_unref(struct feed *f) {
    f->refs--;
}

static void maybe_free(struct feed *f) {
    if (!f->closing || f->calls > 0)
        return; /* a reply that points here is still to come */
    free(f);
}

void feed_destroy(struct feed *f) {
    if (f->closing)
        return;
    f->closing = true;
    tc_list_remove(&f->turn);
    if (f->hh.tbl != NULL) {
        HASH_DEL(f->hub->feeds, f);
        f->hub->stats.feeds--;
    }
    tail_stop(f);
    vanish_forget(f);
    feed_wake(f);
    fan_fini(&f->fan);
    recap_forget(&f->hub->recap, f);
    history_fini(&f->history);
    maybe_free(f);
}

bool feed_call_done(struct feed *f) {
    f->calls--;
    if (!f->closing)
        return false;
    maybe_free(f);
    return true;
}

void feed_wait_add(struct feed *f, struct feed_wait *w) {
    tc_list_add_tail(&f->waits, &w->node);
}

void feed_wait_remove(struct feed_wait *w) {
    tc_list_remove(&w->node);
}

void feed_listen(struct feed *f, struct feed_listener *l) {
    tc_list_add_tail(&f->listeners, &l->node);
}

void feed_unlisten(struct feed_listener *l) {
    tc_list_remove(&l->node);
}

void feed_wake(struct feed *f) {
    struct tc_list now;
    tc_list_move(&f->waits, &now);
    while (!tc_list_empty(&now)) {
        struct feed_wait *w = TC_CONTAINER_OF(now.next, struct feed_wait, node);
        tc_list_remove(&w->node);
        w->cb(w->arg);
    }
}

const char *feed_state_name(const struct feed *f) {
    if (f->ended)
        return f->cancelled ? "cancelled" : f->failed ? "failed" : "done";
    return status_name(status_of_generation(f));
}

bool feed_is_watched(const struct feed *f) {
    uint64_t recent = 3 * (uint64_t)f->hub->opts.sweep_ms;
    return f->fan.sub_count > 0 || (f->room_ms != 0 && hub_now_ms(f->hub) - f->room_ms <= recent);
}

/* What an event says of the generation's state. */
void feed_note_state(struct feed *f, const struct tc_event *ev) {
    if (ev->type == TC_EV_START || ev->type == TC_EV_DELTA || ev->type == TC_EV_ATTEMPT)
        f->started = true;
    if (ev->type != TC_EV_DONE)
        return;
    f->ended = true;
    f->cancelled = tc_str_is(ev->reason, "cancelled");
    f->failed = tc_str_is(ev->reason, "error");
}

int feed_push(struct feed *f, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    int err = history_push(&f->history, pos, raw);
    if (err != 0)
        return err;
    f->last = pos;
    f->quiet_ms = f->event_ms = hub_now_ms(f->hub);
    bool ending = ev->type == TC_EV_ERROR && !ev->recoverable; /* `done` follows at once */
    f->stalled = f->stalled && ending;
    f->hub->stats.events++;
    feed_note_state(f, ev);
    char id[TC_POSITION_MAX];
    struct dialect_event in = {.ev = ev, .raw = raw, .id = {id, tc_position_format(pos, id)}};
    fan_event(&f->fan, pos, &in);
    for (struct tc_list *n = f->listeners.next, *next; n != &f->listeners; n = next) {
        next = n->next;
        struct feed_listener *l = TC_CONTAINER_OF(n, struct feed_listener, node);
        l->on_event(l->arg, f, pos, ev, raw);
    }
    if (f->ended)
        fan_end(&f->fan);
    else if (!ending)
        status_update(f);
    return 0;
}

void feed_settle(struct feed *f, int err) {
    f->err = err;
    f->state = err == 0 ? FEED_READY : FEED_FAILED;
    f->quiet_ms = f->event_ms = hub_now_ms(f->hub);
    f->fan.ended = f->ended;
    if (err == 0)
        fan_prime(&f->fan);
    if (err != 0 || f->ended)
        tail_stop(f);
    status_update(f);
    feed_wake(f);
}

/* What can only append has no way to say what happened: an unfinished body must not look finished. */
static void cut_append_only(struct feed *f) {
    for (struct track *t = f->fan.tracks; t != NULL; t = t->next)
        if (t->key.dialect->append_only)
            while (t->sub_count > 0)
                sub_destroy(t->subs[t->sub_count - 1], false);
}

void feed_gap(struct feed *f, struct tc_position from, struct tc_position to, uint64_t dropped) {
    char room[256];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_json(&json, from, to, dropped, "trimmed");
    f->hub->stats.gaps_trimmed++;
    recap_forget(&f->hub->recap, f);
    cut_append_only(f); /* rather than leave it with a silent hole */
    fan_control(&f->fan, &(struct dialect_control){.type = "gap", .json = tc_buf_str(&json)});
}

void feed_lost(struct feed *f) {
    tc_log(TC_LOG_WARN, "a branch of the log was lost: readers start over", TC_LS("gen", f->id));
    struct tc_position seen = f->last;
    forget(f);
    fan_restart(&f->fan, seen);
    for (struct tc_list *n = f->listeners.next, *next; n != &f->listeners; n = next) {
        next = n->next;
        struct feed_listener *l = TC_CONTAINER_OF(n, struct feed_listener, node);
        if (l->on_lost != NULL)
            l->on_lost(l->arg, f);
    }
    tail_reload(f);
}

void feed_vanished(struct feed *f, const char *code, const char *message) {
    tc_log(TC_LOG_WARN, "the log of a generation vanished", TC_LS("gen", f->id), TC_LS("code", code));
    f->failed = f->ended = true;
    f->gone_code = code;
    f->gone_message = message;
    cut_append_only(f);
    char room[320];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_error_json(&json, NULL, code, message);
    fan_control(&f->fan, &(struct dialect_control){.type = "error", .json = tc_buf_str(&json)});
    json.len = 0;
    gap_done_json(&json, NULL);
    fan_control(&f->fan, &(struct dialect_control){.type = "done", .json = tc_buf_str(&json)});
    fan_end(&f->fan);
    feed_settle(f, TC_EGONE);
}

static void beat(struct feed *f, uint64_t now_ms) {
    fan_heartbeat(&f->fan, now_ms);
    fan_retire(&f->fan, now_ms);
    if (f->fan.sub_count == 0)
        fan_drop_empty_tracks(&f->fan);
}

void feed_sweep(struct feed *f, uint64_t now_ms) {
    beat(f, now_ms);
    if (is_used(f)) {
        f->idle_ms = 0;
    } else if (f->idle_ms == 0) {
        f->idle_ms = now_ms;
    } else if (now_ms - f->idle_ms >= (uint64_t)f->hub->opts.linger_ms || f->state == FEED_FAILED) {
        feed_destroy(f);
        return;
    }
    tail_retry(f);
    if (!tc_list_empty(&f->waits))
        feed_wake(f); /* those who wait look at their clocks */
    if (f->state != FEED_READY || f->ended)
        return;
    f->hub->queue.wanted = f->hub->queue.wanted || (!f->started && f->job[0] != '\0' && feed_is_watched(f));
    liveness_check(f, now_ms);
    if (f->abandonable)
        presence_report(f, now_ms);
    if (now_ms - f->quiet_ms >= hub_quiet_ms(f->hub))
        tail_read(f);
}

void feed_redis_changed(struct feed *f) {
    status_update(f);
    if (status_is_cut_off(f))
        return;
    tail_retry(f);
    feed_wake(f);
}
