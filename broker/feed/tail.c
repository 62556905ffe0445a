/* Following one log. Happy path: subscribe -> confirmed -> load the newest part backwards -> READY -> every
 * announcement that continues the sequence is taken as it is. Anything else (a hole, a higher attempt, a lost link, a
 * quiet second) means reading the log from the last position on, inclusively: what stands there tells whether the log
 * goes on, was trimmed, lost a branch, or is gone. A failed command leaves everything as it is; Redis coming back, or
 * the next sweep, tries again. */
#include "feed/tail.h"

#include "base/log.h"
#include "base/prefetch.h"
#include "feed/liveness.h"
#include "feed/queue.h"
#include "feed/vanish.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define LOAD_ENTRIES  256
#define READ_ENTRIES  256
#define FIRST_ENTRIES 16 /* more fences than that do not follow one another */

static void load_page(struct feed *f);
static void load(struct feed *f);

/* Takes the event at pos, which continues the sequence. Garbage is skipped and counted; its place is kept. false: no
 * memory, and it is still to be taken. */
static bool take_event(struct feed *f, struct tc_position pos, struct tc_str raw) {
    struct tc_event ev;
    if (tc_event_decode(raw.p, raw.n, &ev) != 0) {
        if (history_push(&f->history, pos, (struct tc_str){NULL, 0}) != 0)
            return false;
        f->hub->stats.decode_errors++;
        f->last = pos;
        return true;
    }
    if (ev.at > 0 && f->fan.latency_at == 0)
        f->fan.latency_at = ev.at;
    if (feed_push(f, pos, &ev, raw) != 0) {
        tc_log(TC_LOG_ERROR, "out of memory: event not taken, will be read again", TC_LS("gen", f->id));
        return false;
    }
    if (f->ended)
        tail_stop(f);
    return true;
}

/* ---- reading on ---- */

static void read_done(struct feed *f) {
    f->reading = false;
    bool again = f->again;
    f->again = false;
    if (!again)
        f->looked_ms = f->read_ms;
    if (again && f->state == FEED_READY && !f->ended)
        tail_read(f);
    feed_wake(f);
}

/* A failed read leaves everything to the next sweep. */
static void read_failed(struct feed *f, const redisReply *reply) {
    f->reading = f->again = false;
    if (reply != NULL && tc_reply_is_error(reply, "WRONGTYPE"))
        feed_vanished(f, "log_replaced", "Something else stands in Redis where the log of this generation was.");
    else
        feed_wake(f);
}

/* Readers are told of the entries before `next`, which are gone. Not told again if `next` cannot be taken now. */
static void skip_to(struct feed *f, struct tc_position next) {
    struct tc_position start = {f->last.attempt, f->last.seq + 1}, end = {next.attempt, next.seq - 1};
    if (end.seq >= start.seq) {
        feed_gap(f, start, end, end.seq - start.seq + 1);
        f->last = end;
    }
    history_clear(&f->history); /* what is kept must have no hole */
}

/* false: the read ends here, because a branch was lost or memory is short. */
static bool take_entries(struct feed *f, const redisReply *reply, size_t from) {
    for (size_t i = from; i < reply->elements && !f->ended; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) != 0 || e.position.seq == 0)
            continue;
        if (tc_position_cmp(e.position, f->last) <= 0)
            continue;
        if (e.position.seq > f->last.seq + 1) {
            skip_to(f, e.position);
        } else if (e.position.seq <= f->last.seq) {
            f->reading = f->again = false;
            feed_lost(f);
            return false;
        }
        if (!take_event(f, e.position, e.e)) {
            read_failed(f, NULL);
            return false;
        }
    }
    return true;
}

/* The first event, past the fences of attempts that wrote nothing else or whose events were trimmed away. */
static bool first_event(const redisReply *reply, struct tc_reply_entry *first) {
    for (size_t i = 0; i < reply->elements; i++)
        if (tc_reply_entry(reply, i, first) == 0 && first->position.seq > 0)
            return true;
    return false;
}

/* The log ends before what was read, but on the same branch as far as it goes, and nobody has fenced it: the writer may
 * write again what a failover lost. It has a lease to do so, in which Redis can be read. */
static bool may_catch_up(struct feed *f, const redisReply *newest_first) {
    struct tc_reply_entry newest, event;
    size_t i;
    uint64_t now = hub_now_ms(f->hub);
    if (tc_reply_entry(newest_first, 0, &newest) != 0 || newest.position.attempt > f->last.attempt ||
        !first_event(newest_first, &event) || tc_position_cmp(event.position, f->last) >= 0 ||
        history_after(&f->history, event.position, &i) != HISTORY_FOUND)
        return false;
    const struct entry *seen = history_at(&f->history, i - 1);
    if (!tc_str_eq(event.e, (struct tc_str){seen->bytes, seen->len}))
        return false;
    if (f->behind_ms == 0)
        f->behind_ms = now;
    return now - f->behind_ms < (uint64_t)f->hub->opts.lease_ms;
}

static void on_newest(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (feed_call_done(f))
        return;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0) {
        read_failed(f, NULL);
    } else if (may_catch_up(f, reply)) {
        f->again = false;
        read_done(f);
    } else {
        f->reading = f->again = false;
        feed_lost(f);
    }
}

static void on_first(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (feed_call_done(f))
        return;
    struct tc_reply_entry first;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY) {
        read_failed(f, err == 0 ? reply : NULL);
        return;
    }
    if (reply->elements == 0) {
        vanish_inquire(f);
        return;
    }
    if (!first_event(reply, &first)) { /* all trimmed: the next event will show the hole */
        read_done(f);
        return;
    }
    /* A log that does not reach back and begins with another attempt may be another branch: nothing tells. */
    if (first.position.seq <= f->last.seq || first.position.attempt != f->last.attempt) {
        if (tc_redis_command(f->hub->redis, tc_str_from(f->log_key), on_newest, f, "XREVRANGE %s + - COUNT %d",
                             f->log_key, FIRST_ENTRIES) == 0)
            f->calls++;
        else
            read_done(f);
        return;
    }
    /* Trimmed past what was read: told by the hole before the first entry that is left. */
    skip_to(f, first.position);
    if (!take_event(f, first.position, first.e)) {
        read_failed(f, NULL);
        return;
    }
    f->reading = f->again = false;
    if (!f->ended)
        tail_read(f);
}

static void on_read(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (feed_call_done(f))
        return;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY || f->state != FEED_READY) {
        read_failed(f, err == 0 ? reply : NULL);
        return;
    }
    f->quiet_ms = hub_now_ms(f->hub);
    struct tc_reply_entry first;
    bool joins =
        reply->elements > 0 && tc_reply_entry(reply, 0, &first) == 0 && tc_position_cmp(first.position, f->last) == 0;
    if (!joins) {
        if (tc_redis_command(f->hub->redis, tc_str_from(f->log_key), on_first, f, "XRANGE %s - + COUNT %d", f->log_key,
                             FIRST_ENTRIES) == 0)
            f->calls++;
        else
            read_done(f);
        return;
    }
    f->behind_ms = 0;
    f->epoch = f->hub->epoch;
    if (reply->elements > 1)
        f->hub->stats.sweeps_found++;
    if (!take_entries(f, reply, 1))
        return;
    if (reply->elements == READ_ENTRIES)
        f->again = true;
    read_done(f);
}

void tail_read(struct feed *f) {
    if (f->reading) {
        f->again = true;
        return;
    }
    char last[TC_POSITION_MAX];
    tc_position_format(f->last, last);
    if (tc_redis_command(f->hub->redis, tc_str_from(f->log_key), on_read, f, "XRANGE %s %s + COUNT %d", f->log_key,
                         last, READ_ENTRIES) != 0)
        return;
    f->calls++;
    f->reading = true;
    f->read_ms = hub_now_ms(f->hub);
    f->hub->stats.log_reads++;
}

/* ---- announcements ---- */

static void on_message(void *arg, struct tc_str payload) {
    struct feed *f = arg;
    if (f->state != FEED_READY || f->reading) {
        f->again = true;
        return;
    }
    const char *space = memchr(payload.p, ' ', payload.n < TC_POSITION_MAX ? payload.n : TC_POSITION_MAX);
    struct tc_position pos;
    if (space == NULL || tc_position_parse(payload.p, (size_t)(space - payload.p), &pos) != 0) {
        f->hub->stats.decode_errors++;
        tail_read(f);
        return;
    }
    if (pos.attempt == f->last.attempt && pos.seq == f->last.seq + 1) {
        f->hub->stats.announced++;
        size_t skip = (size_t)(space - payload.p) + 1;
        (void)take_event(f, pos, (struct tc_str){payload.p + skip, payload.n - skip}); /* else the sweep finds it */
        if (f->ended)
            feed_wake(f);
        else if (!tc_list_empty(&f->waits))
            feed_wake(f);
    } else if (tc_position_cmp(pos, f->last) > 0) {
        tail_read(f);
    }
}

/* A step further from the feed each time: the feed, what it points to, … the connection. */
static void ahead(void *arg, unsigned depth) {
    struct feed *f = arg;
    if (depth == 0) {
        tc_prefetch(f, offsetof(struct feed, hh));
        return;
    }
    if (depth == 1)
        history_ahead(&f->history);
    fan_ahead(&f->fan, depth - 1);
}

static void on_subscribed(void *arg) {
    struct feed *f = arg;
    if (f->state == FEED_READY)
        tail_read(f);
    else if (f->state == FEED_SUBSCRIBING || (f->state == FEED_LOADING && !f->reading))
        load(f);
}

/* ---- loading ---- */

static void put_text(char *out, size_t size, struct tc_str s) {
    size_t n = s.n < size ? s.n : size - 1;
    memcpy(out, s.p == NULL ? "" : s.p, s.p == NULL ? 0 : n);
    out[s.p == NULL ? 0 : n] = '\0';
}

static void on_ttl(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!feed_call_done(f) && err == 0 && reply->type == REDIS_REPLY_INTEGER && reply->integer >= -1)
        liveness_note_ttl(f, reply->integer);
}

static void on_meta(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (feed_call_done(f) || err != 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements != 5)
        return;
    for (size_t i = 0; i < reply->elements; i++)
        f->has_meta = f->has_meta || reply->element[i]->type == REDIS_REPLY_STRING;
    put_text(f->model, sizeof f->model, tc_reply_str(reply->element[0]));
    put_text(f->channel, sizeof f->channel, tc_reply_str(reply->element[1]));
    put_text(f->job, sizeof f->job, tc_reply_str(reply->element[2]));
    f->abandonable = tc_reply_str(reply->element[3]).n > 0;
}

static void load_done(struct feed *f) {
    f->reading = false;
    feed_settle(f, 0);
    if (f->again && !f->ended) {
        f->again = false;
        tail_read(f);
    }
}

static void on_queue(void *arg) {
    struct feed *f = arg;
    if (!feed_call_done(f))
        load_done(f);
}

/* The history is as long as it gets: what does it say? */
static void loaded(struct feed *f) {
    const struct history *h = &f->history;
    f->last = history_at(h, h->count - 1)->pos;
    f->started = f->last.seq > 1;
    f->epoch = f->hub->epoch;
    for (size_t i = 0; i < h->count; i++) {
        const struct entry *e = history_at(h, i);
        struct tc_event ev;
        if (tc_event_decode(e->bytes, e->len, &ev) == 0)
            feed_note_state(f, &ev);
    }
    f->queued = (struct queue_wait){.job = f->job, .cb = on_queue, .arg = f};
    if (!f->started && !f->ended && f->job[0] != '\0' && queue_ask(f->hub, &f->queued))
        f->calls++;
    else
        load_done(f);
}

/* Entries come newest first. 1, or 0 when the history needs no more; TC_ENOMEM: there are events, and none is kept. */
static int take_backwards(struct feed *f, const redisReply *reply) {
    struct history *h = &f->history;
    for (size_t i = 0; i < reply->elements; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) != 0)
            continue;
        f->oldest = e.position;
        if (e.position.seq == 0)
            continue;
        if (h->count > 0 && e.position.seq + 1 != history_at(h, 0)->pos.seq)
            return 0; /* a hole: what is kept must be without */
        if (history_push_front(h, e.position, e.e) != 0)
            return h->count > 0 ? 0 : TC_ENOMEM;
    }
    return reply->elements == LOAD_ENTRIES;
}

static void on_absence(void *arg, bool confirmed) {
    struct feed *f = arg;
    if (feed_call_done(f))
        return;
    f->reading = false;
    if (!confirmed)
        return;                                                /* still LOADING, as after a failed read */
    if (f->fan.sub_count > 0 || !tc_list_empty(&f->listeners)) /* a lost branch, and now this */
        feed_vanished(f, "log_gone", "The log of this generation is no longer in Redis.");
    else
        feed_settle(f, f->has_meta ? TC_EGONE : TC_ENOTFOUND);
}

static void on_page(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (feed_call_done(f))
        return;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY) {
        if (err == 0)
            tc_log(TC_LOG_WARN, "a log cannot be read", TC_LS("gen", f->id), TC_LSTR("reply", tc_reply_str(reply)));
        f->reading = false;
        return; /* still LOADING: the sweep, or Redis coming back, loads again */
    }
    int more = take_backwards(f, reply);
    if (more < 0) {
        tc_log(TC_LOG_ERROR, "a log cannot be loaded, will be tried again", TC_LS("gen", f->id), TC_LERR(more));
        f->reading = false;
        return;
    }
    if (more > 0) {
        load_page(f);
        return;
    }
    if (f->history.count > 0) {
        loaded(f);
        return;
    }
    f->calls++;
    f->absence = (struct tc_redis_inquiry){.cb = on_absence, .arg = f};
    tc_redis_confirm(f->hub->redis, &f->absence);
}

static void load_page(struct feed *f) {
    char from[TC_POSITION_MAX + 1] = "+";
    if (f->oldest.attempt != 0 || f->oldest.seq != 0) {
        from[0] = '(';
        tc_position_format(f->oldest, from + 1);
    }
    f->reading = tc_redis_command(f->hub->redis, tc_str_from(f->log_key), on_page, f, "XREVRANGE %s %s - COUNT %d",
                                  f->log_key, from, LOAD_ENTRIES) == 0;
    if (f->reading)
        f->calls++;
}

static void load(struct feed *f) {
    f->state = FEED_LOADING;
    f->oldest = (struct tc_position){0, 0};
    history_clear(&f->history);
    f->has_meta = false;
    if (tc_redis_command(f->hub->redis, tc_str_from(f->meta_key), on_meta, f,
                         "HMGET %s model channel job on_abandon_ms created", f->meta_key) != 0)
        return;
    f->calls++;
    f->calls += tc_redis_command(f->hub->redis, tc_str_from(f->log_key), on_ttl, f, "PTTL %s", f->log_key) == 0;
    f->hub->stats.log_reads++;
    f->read_ms = f->looked_ms = hub_now_ms(f->hub);
    load_page(f);
}

void tail_retry(struct feed *f) {
    if (f->state == FEED_LOADING && !f->reading)
        load(f);
}

void tail_reload(struct feed *f) {
    f->state = FEED_LOADING;
    f->reading = false;
    load(f);
}

int tail_start(struct feed *f) {
    char channel[TC_KEY_MAX];
    tc_key_gen(channel, f->hub->opts.prefix, TC_KEY_BELL, f->id);
    f->bell = (struct tc_redis_sub){.on_message = on_message, .ahead = ahead, .on_ready = on_subscribed, .arg = f};
    int err = tc_redis_subscribe(f->hub->redis, &f->bell, channel);
    if (err == 0)
        f->state = FEED_SUBSCRIBING;
    return err;
}

void tail_stop(struct feed *f) {
    if (f->state != FEED_COLD)
        tc_redis_unsubscribe(f->hub->redis, &f->bell);
}
