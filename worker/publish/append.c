/* Entries out: one XADD in flight a generation, and when Redis has acknowledged it, its announcement, right before the
 * next XADD in the same turn of the loop. A lost link or a stale id hands over to fence.c; a Redis that cannot write
 * now gets the same bytes again later. */
#include "publish/writer.h"

#include "base/clock.h"
#include "base/log.h"
#include "publish/refusal.h"

static void on_append(void *arg, int err, const redisReply *reply);

/* The next thing to send, its bytes now fixed under its id; NULL: nothing, or not yet. */
static struct window_entry *next_entry(struct tc_writer *w) {
    struct tc_buf *scratch = &w->publisher->scratch;
    struct window_entry *e = w->window.unacked;
    if (e || outbox_is_empty(&w->outbox))
        return e;
    uint64_t wait_us = outbox_wait(&w->outbox, tc_mono_us());
    if (wait_us > 0) {
        writer_wait(w, wait_us / 1000 + 1);
        return NULL;
    }
    if (outbox_peek(&w->outbox, scratch) < 0 || window_push(&w->window, tc_buf_str(scratch), &e) < 0) {
        writer_hold(w);
        return NULL;
    }
    outbox_drop(&w->outbox);
    return e;
}

static int send_append(struct tc_writer *w, const struct window_entry *e) {
    char id[TC_POSITION_MAX];
    struct tc_position at = {w->attempt, e->seq};
    size_t id_len = tc_position_format(at, id);
    struct tc_str log = writer_route(w);
    const char *argv[] = {"XADD", log.p, "NOMKSTREAM", id, "e", e->bytes};
    const size_t len[] = {4, log.n, 10, id_len, 1, e->len};
    return tc_redis_command_argv(writer_redis(w), log, on_append, w, 6, argv, len);
}

void append_next(struct tc_writer *w) {
    if ((w->state != WRITER_LIVE && w->state != WRITER_FINISHING) || w->in_flight || w->hold)
        return;
    const struct window_entry *e = next_entry(w);
    if (!e)
        return;
    int rc = send_append(w, e);
    if (rc == TC_ELINK) {
        fence_recover(w);
    } else if (rc < 0) {
        writer_hold(w);
    } else {
        w->in_flight = true;
        w->pending++;
    }
}

/* PUBLISH bell "<id> <e>". Nobody waits for its answer: readers notice what they missed (rule 13, the sweep). */
static void announce(struct tc_writer *w, const struct window_entry *e) {
    char id[TC_POSITION_MAX];
    struct tc_position at = {w->attempt, e->seq};
    struct tc_buf *scratch = &w->publisher->scratch;
    tc_buf_reset(scratch);
    tc_buf_append(scratch, id, tc_position_format(at, id));
    tc_buf_putc(scratch, ' ');
    tc_buf_append(scratch, e->bytes, e->len);
    if (!tc_buf_ok(scratch))
        return;
    if (tc_redis_publish(writer_redis(w), writer_route(w), w->bell, tc_buf_str(scratch)) == 0)
        w->publisher->stats.announces++;
}

static void tell_finished(struct tc_writer *w) {
    writer_set_state(w, WRITER_FINISHED);
    hint_expiry(w, tc_mono_us(), true);
    w->cbs.on_finished(w->arg);
}

void append_settle(struct tc_writer *w, uint64_t now_us) {
    bool empty = outbox_is_empty(&w->outbox) && !w->window.unacked;
    hint_after_ack(w, now_us);
    if (w->state == WRITER_FINISHING && empty) {
        tell_finished(w);
    } else if (w->stopped && w->outbox.bytes < w->publisher->opts.buffer_bytes / 2) {
        w->stopped = false;
        w->cbs.on_pressure(w->arg, false);
    }
}

static void acknowledged(struct tc_writer *w) {
    const struct window_entry *e = w->window.unacked;
    uint64_t now_us = tc_mono_us();
    w->acked = w->top = (struct tc_position){w->attempt, e->seq};
    w->length++;
    w->refused_us = 0;
    w->backoff_ms = 0;
    w->publisher->stats.appends++;
    announce(w, e);
    window_ack(&w->window, now_us);
    append_next(w);
    append_settle(w, now_us);
}

static void refused(struct tc_writer *w, const redisReply *reply) {
    switch (refusal_of(reply)) {
    case REFUSAL_STALE:
    case REFUSAL_MOVED:
        fence_recover(w);
        return;
    case REFUSAL_LATER:
        if (!writer_refused(w))
            writer_hold(w);
        return;
    default:
        tc_log(TC_LOG_ERROR, "Redis refuses an append for good", TC_LS("gen", w->id),
               TC_LSTR("reply", ((struct tc_str){reply->str, reply->len})), TC_LTRACE(&w->trace));
        writer_lost(w, TC_EREDIS);
    }
}

static void on_append(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    w->in_flight = false;
    if (writer_reply_in(w))
        return;
    /* Under repair the tail decides what was written, not this answer. */
    if (w->state != WRITER_LIVE && w->state != WRITER_FINISHING)
        return;
    if (err == TC_ECLOSED)
        writer_lost(w, TC_ECLOSED);
    else if (err < 0)
        fence_recover(w);
    else if (reply->type == REDIS_REPLY_NIL)
        writer_lost(w, TC_EGONE);
    else if (refusal_of(reply) != REFUSAL_NONE)
        refused(w, reply);
    else
        acknowledged(w);
}
