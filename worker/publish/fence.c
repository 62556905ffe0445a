/* Opening and repairing: the one procedure that decides who owns a log and where it ends (rules 1-3, 5, 7).
 *
 * Opening: look at the log's head and tail -> choose the attempt number -> fence, blind -> look again.
 * Repairing, after a lost link or a tail that is not mine: the same fence again -> look -> what follows is repeated.
 * A run's commands are pipelined; the last reply concludes. A lost link or a Redis that cannot write now begins the
 * run anew: from the timer (back-off), or when the link is up again. */
#include "publish/writer.h"

#include "base/clock.h"
#include "base/log.h"
#include "publish/refusal.h"
#include "redis/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE 8 /* entries of the tail read at once; more only where fences lie on fences */

static void conclude(struct tc_writer *w);
static void on_tail(void *arg, int err, const redisReply *reply);

static void note_failure(struct fencing *f, int err) {
    if (!f->failed)
        f->failed = err;
}

/* rc is what tc_redis_command said. */
static void sent(struct tc_writer *w, int rc) {
    if (rc < 0) {
        note_failure(&w->fencing, rc);
        return;
    }
    w->pending++;
    w->fencing.pending++;
}

/* First lines of a reply in a run. true: closing. */
static bool reply_in(struct tc_writer *w, int err) {
    w->fencing.pending--;
    if (err < 0)
        note_failure(&w->fencing, err);
    return writer_reply_in(w);
}

/* An answer that is an error, as a failure of this run; true if it was one. */
static bool note_refusal(struct tc_writer *w, const redisReply *reply) {
    enum refusal what = refusal_of(reply);
    if (what == REFUSAL_NONE)
        return false;
    if (what == REFUSAL_FATAL)
        tc_log(TC_LOG_ERROR, "Redis refuses a generation for good", TC_LS("gen", w->id),
               TC_LSTR("reply", tc_reply_str(reply)), TC_LTRACE(&w->trace));
    note_failure(&w->fencing, what == REFUSAL_FATAL ? TC_EREDIS : TC_EAGAIN);
    return true;
}

/* ---- Commands of a run */

static void on_created(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    if (reply_in(w, err))
        return;
    if (err == 0 && refusal_of(reply) != REFUSAL_STALE)
        (void)note_refusal(w, reply);
    conclude(w);
}

/* Create-if-absent by itself: a second 0-1 is refused. */
static void send_created(struct tc_writer *w) {
    struct tc_buf *scratch = &w->publisher->scratch;
    struct tc_event ev = {
        .type = TC_EV_CREATED, .at = tc_now_us(), .model = tc_str_from(w->model), .channel = tc_str_from(w->channel)};
    ev.traceparent = tc_str_from(w->trace.parent);
    tc_buf_reset(scratch);
    tc_event_encode(scratch, &ev);
    if (!tc_buf_ok(scratch)) {
        note_failure(&w->fencing, TC_ENOMEM);
        return;
    }
    sent(w, tc_redis_command(writer_redis(w), writer_route(w), on_created, w, "XADD %s 0-1 e %b", w->log, scratch->data,
                             scratch->len));
}

static void on_head(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    struct tc_reply_entry entry;
    struct tc_event ev;
    if (reply_in(w, err))
        return;
    if (err == 0 && !note_refusal(w, reply) && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
        tc_reply_entry(reply, 0, &entry) == 0) {
        w->fencing.head = entry.position;
        if (entry.has_e && tc_event_decode(entry.e.p, entry.e.n, &ev) == 0 && ev.type == TC_EV_CREATED) {
            w->created_us = ev.at;
            tc_trace_take(&w->trace, ev.traceparent, TC_STR(""));
        }
    }
    conclude(w);
}

/* Newest first, from `end` ("+", or an attempt: its last entry). */
static void send_tail(struct tc_writer *w, const char *end) {
    sent(w, tc_redis_command(writer_redis(w), writer_route(w), on_tail, w, "XREVRANGE %s %s - COUNT %d", w->log, end,
                             PAGE));
}

static void read_last_event(struct fencing *f, const struct tc_reply_entry *entry) {
    struct tc_event ev;
    f->last = entry->position;
    f->last_done = entry->has_e && tc_event_decode(entry->e.p, entry->e.n, &ev) == 0 && ev.type == TC_EV_DONE;
}

static void read_page(struct tc_writer *w, const redisReply *reply) {
    struct fencing *f = &w->fencing;
    struct tc_reply_entry entry = {0};
    for (size_t i = 0; i < reply->elements; i++) {
        if (tc_reply_entry(reply, i, &entry) < 0) {
            note_failure(f, TC_EREDIS);
            return;
        }
        if (!f->has_top) {
            f->has_top = true;
            f->top = entry.position;
        }
        if (entry.position.seq > 0) {
            read_last_event(f, &entry);
            return;
        }
    }
    if (reply->elements == PAGE && entry.position.attempt > 0) {
        char end[24];
        snprintf(end, sizeof(end), "%" PRIu64, entry.position.attempt - 1);
        send_tail(w, end);
    }
}

static void on_tail(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    if (reply_in(w, err))
        return;
    if (err == 0 && !note_refusal(w, reply)) {
        if (reply->type == REDIS_REPLY_ARRAY)
            read_page(w, reply);
        else
            note_failure(&w->fencing, TC_EREDIS);
    }
    conclude(w);
}

static void on_fence(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    if (reply_in(w, err))
        return;
    if (err == 0 && reply->type == REDIS_REPLY_NIL)
        note_failure(&w->fencing, TC_EGONE);
    else if (err == 0 && refusal_of(reply) != REFUSAL_STALE)
        (void)note_refusal(w, reply);
    conclude(w);
}

/* Is the fence under my number mine? Two workers may have chosen one number in the same millisecond. */
static void on_fence_read(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    struct tc_reply_entry entry;
    struct tc_event ev;
    if (reply_in(w, err))
        return;
    if (err == 0 && !note_refusal(w, reply) && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0)
        w->fencing.foreign = tc_reply_entry(reply, 0, &entry) < 0 || !entry.has_e ||
                             tc_event_decode(entry.e.p, entry.e.n, &ev) < 0 || !tc_str_is(ev.writer, w->mark);
    conclude(w);
}

static void send_fence(struct tc_writer *w) {
    char id[TC_POSITION_MAX];
    struct tc_buf *scratch = &w->publisher->scratch;
    struct tc_event ev = {.type = TC_EV_FENCE, .writer = tc_str_from(w->mark)};
    tc_buf_reset(scratch);
    tc_event_encode(scratch, &ev);
    if (!tc_buf_ok(scratch)) {
        note_failure(&w->fencing, TC_ENOMEM);
        return;
    }
    (void)tc_position_format((struct tc_position){w->attempt, 0}, id);
    sent(w, tc_redis_command(writer_redis(w), writer_route(w), on_fence, w, "XADD %s NOMKSTREAM %s e %b", w->log, id,
                             scratch->data, scratch->len));
    sent(w, tc_redis_command(writer_redis(w), writer_route(w), on_fence_read, w, "XRANGE %s %s %s", w->log, id, id));
}

static void on_length(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    if (reply_in(w, err))
        return;
    if (err == 0 && !note_refusal(w, reply) && !tc_reply_int(reply, &w->fencing.length))
        note_failure(&w->fencing, TC_EREDIS);
    conclude(w);
}

/* ---- Beginning */

void fence_begin(struct tc_writer *w) {
    struct fencing *f = &w->fencing;
    if (f->pending > 0) {
        f->again = true;
        return;
    }
    if (w->state == WRITER_OPENING && !w->ctl_ready)
        return; /* a cancel must not fall between; on_ctl_ready comes back here */
    *f = (struct fencing){.chosen = f->chosen};
    if (f->chosen)
        send_fence(w);
    else if (w->create)
        send_created(w);
    sent(w, tc_redis_command(writer_redis(w), writer_route(w), on_head, w, "XRANGE %s - + COUNT 1", w->log));
    sent(w, tc_redis_command(writer_redis(w), writer_route(w), on_length, w, "XLEN %s", w->log));
    send_tail(w, "+");
    conclude(w);
}

void fence_recover(struct tc_writer *w) {
    writer_set_state(w, WRITER_RECOVERING);
    fence_begin(w);
}

/* ---- Concluding */

static void choose_attempt(struct tc_writer *w, uint64_t tail_attempt) {
    unsigned char raw[WRITER_HEX / 2];
    int64_t age_us = tc_now_us() - w->created_us;
    uint64_t by_clock = age_us > 0 ? (uint64_t)age_us / 1000 + 1 : 1;
    w->attempt = tail_attempt + 1 > by_clock ? tail_attempt + 1 : by_clock;
    tc_random(raw, sizeof(raw));
    for (size_t i = 0; i < sizeof(raw); i++)
        snprintf(w->mark + 2 * i, 3, "%02x", raw[i]);
    w->fencing.chosen = true;
}

static void stand_on(struct tc_writer *w, const struct fencing *f) {
    w->base = w->acked = f->last;
    w->top = f->top;
    w->head = f->head;
    w->length = f->length;
}

/* The first look: an ended log gets no fence. */
static void looked(struct tc_writer *w) {
    const struct fencing *f = &w->fencing;
    if (f->last_done) {
        stand_on(w, f);
        writer_opened(w, true);
    } else if (f->top.attempt == UINT64_MAX) {
        writer_lost(w, TC_EFENCED); /* nothing can ever be written after it */
    } else {
        choose_attempt(w, f->top.attempt);
        fence_begin(w);
    }
}

/* Rule 3. */
static void fenced(struct tc_writer *w) {
    const struct fencing *f = &w->fencing;
    if (f->foreign || f->top.attempt != w->attempt || f->top.seq != 0) {
        writer_lost(w, TC_EFENCED);
        return;
    }
    stand_on(w, f);
    writer_opened(w, f->last_done);
}

/* The log ends with an event of mine, but has fewer entries than lead to it, and not because it was trimmed: a link
 * that survived a failover has written behind a lost part. */
static bool has_hole(const struct tc_writer *w) {
    const struct fencing *f = &w->fencing;
    if (f->top.attempt != w->attempt || f->top.seq == 0 || tc_position_cmp(f->head, w->head) != 0)
        return false;
    return f->length < w->length + (int64_t)f->top.seq - (int64_t)w->acked.seq;
}

/* Rule 7: where the log ends decides what is repeated, and whether that is enough. */
static void regained(struct tc_writer *w) {
    const struct fencing *f = &w->fencing;
    uint64_t repeated = 0;
    int rc = TC_ERANGE;
    if (f->foreign) {
        writer_lost(w, TC_EFENCED);
        return;
    }
    if (has_hole(w))
        rc = TC_ERANGE;
    else if (f->top.attempt == w->attempt && f->top.seq > 0)
        rc = window_rewind(&w->window, f->top.seq, &repeated);
    else if (f->top.attempt == w->attempt && tc_position_cmp(f->last, w->base) == 0)
        rc = window_rewind(&w->window, w->base.seq, &repeated);
    if (rc < 0) {
        tc_log(TC_LOG_WARN, "Redis lost more than can be repeated", TC_LS("gen", w->id), TC_LTRACE(&w->trace));
        writer_lost(w, TC_EAGAIN);
        return;
    }
    if (repeated > 0)
        tc_log(TC_LOG_WARN, "Redis lost entries, repeating them", TC_LS("gen", w->id), TC_LI("entries", repeated),
               TC_LTRACE(&w->trace));
    w->publisher->stats.repeated += repeated;
    w->top = f->top;
    w->head = f->head;
    w->length = f->length;
    w->acked = f->top.seq > 0 ? f->top : w->base;
    writer_set_state(w, w->finish_said ? WRITER_FINISHING : WRITER_LIVE);
    append_next(w);
    if (w->state != WRITER_RECOVERING) /* the link may have gone again */
        append_settle(w, tc_mono_us());
}

static void failed(struct tc_writer *w, int err) {
    if (err == TC_EGONE || err == TC_EREDIS || err == TC_ECLOSED)
        writer_lost(w, err);
    else if (err != TC_EAGAIN || !writer_refused(w))
        writer_hold(w);
}

static void conclude(struct tc_writer *w) {
    struct fencing *f = &w->fencing;
    if (f->pending > 0 || (w->state != WRITER_OPENING && w->state != WRITER_RECOVERING))
        return;
    if (f->again) {
        fence_begin(w);
        return;
    }
    if (f->chosen && f->has_top && f->top.attempt > w->attempt) {
        writer_lost(w, TC_EFENCED);
        return;
    }
    if (f->failed) {
        failed(w, f->failed);
        return;
    }
    w->refused_us = 0;
    w->backoff_ms = 0;
    if (!f->has_top)
        writer_lost(w, TC_EGONE);
    else if (!f->chosen)
        looked(w);
    else if (w->state == WRITER_OPENING)
        fenced(w);
    else
        regained(w);
}
