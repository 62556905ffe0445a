/* What a writer keeps beside the log: hints in `meta` (always after an acknowledgement, so that a fenced writer never
 * speaks there), the keys' TTLs, and the look at the cancel flag. All of it may fail: the log alone is true. */
#include "publish/writer.h"

#include "redis/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TTL_EVERY_US (30U * 1000000U) /* or a quarter of the retention, if that is less */
#define META_TIMES   24 /* meta outlives the log: expired (410) is not unknown (404); as the broker does */

static void ignore(int rc) {
    (void)rc;
}

static void set_expiry(struct tc_writer *w, const char *key, int64_t ms) {
    ignore(tc_redis_command(writer_redis(w), writer_route(w), NULL, NULL, "PEXPIRE %s %lld", key, (long long)ms));
}

void hint_expiry(struct tc_writer *w, uint64_t now_us, bool force) {
    int64_t retention = w->publisher->opts.retention_ms;
    uint64_t every = (uint64_t)retention * 1000 / 4;
    if (every > TTL_EVERY_US)
        every = TTL_EVERY_US;
    if (!force && now_us - w->ttl_us < every)
        return;
    w->ttl_us = now_us;
    set_expiry(w, w->log, retention);
    set_expiry(w, w->meta, retention * META_TIMES);
}

static void hint_running(struct tc_writer *w) {
    ignore(tc_redis_command(writer_redis(w), writer_route(w), NULL, NULL,
                            "HSET %s state running attempt %llu owner %s tries %llu", w->meta,
                            (unsigned long long)w->attempt, w->publisher->owner, (unsigned long long)w->try_no));
    hint_expiry(w, w->ttl_us, true);
}

static const char *state_of(const char *reason) {
    if (strcmp(reason, "error") == 0)
        return "failed";
    return strcmp(reason, "cancelled") == 0 ? "cancelled" : "done";
}

static void hint_ended(struct tc_writer *w) {
    char ttft[24] = "";
    if (w->ttft_ms >= 0)
        snprintf(ttft, sizeof(ttft), "%" PRId64, w->ttft_ms);
    ignore(tc_redis_command(
        writer_redis(w), writer_route(w), NULL, NULL, "HSET %s state %s reason %s ended %lld ttft_ms %s attempt %llu",
        w->meta, state_of(w->reason), w->reason, (long long)w->ended_us, ttft, (unsigned long long)w->attempt));
}

void hint_after_ack(struct tc_writer *w, uint64_t now_us) {
    if (w->hint_running) {
        w->hint_running = false;
        hint_running(w);
    }
    if (w->hint_ended && outbox_is_empty(&w->outbox) && !w->window.unacked) {
        w->hint_ended = false;
        hint_ended(w);
    }
    hint_expiry(w, now_us, false);
}

static void on_cancel_flag(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    if (writer_reply_in(w) || err < 0 || w->state == WRITER_LOST)
        return;
    if (tc_str_is(tc_reply_str(reply), "1"))
        w->cbs.on_cancel(w->arg);
}

void hint_read_cancel(struct tc_writer *w) {
    if (tc_redis_command(writer_redis(w), writer_route(w), on_cancel_flag, w, "HGET %s cancel", w->meta) == 0)
        w->pending++;
}
