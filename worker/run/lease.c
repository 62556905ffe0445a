/* Leases. Owned by a job run. The timer belongs to this loop, not to the provider's progress: a model that is silent
 * does not cost the claim. */
#include "run/lease.h"

#include "base/clock.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <assert.h>
#include <string.h>

#define LOOKS_MIN 2 /* renewals apart: one missed lease of one broker is not an empty room */

static void maybe_closed(struct lease *l) {
    if (l->closing && l->timer_closed && l->pending == 0)
        l->close_cb(l->arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct lease *l = handle->data;
    l->timer_closed = true;
    maybe_closed(l);
}

static void on_timer(uv_timer_t *timer) {
    struct lease *l = timer->data;
    l->cbs.on_tick(l->arg);
}

void lease_start(struct lease *l, uv_loop_t *loop, struct jobs *jobs, struct tc_redis *redis, const char *job,
                 int64_t lease_ms, const struct lease_callbacks *cbs, void *arg) {
    l->jobs = jobs;
    l->redis = redis;
    l->job = job;
    l->cbs = *cbs;
    l->arg = arg;
    l->abandon_ms = -1;
    uv_timer_init(loop, &l->timer);
    l->timer.data = l;
    lease_period(l, (uint64_t)lease_ms / 3);
}

void lease_period(struct lease *l, uint64_t ms) {
    uint64_t period = ms > 0 ? ms : 1;
    if (!l->closing)
        uv_timer_start(&l->timer, on_timer, period, period);
}

void lease_watch_viewers(struct lease *l, const char *prefix, const char *gen, int64_t abandon_ms) {
    tc_key_gen(l->viewers, prefix, TC_KEY_VIEWERS, gen);
    l->abandon_ms = abandon_ms;
    l->empty_looks = 0;
    l->empty_since_us = 0;
}

void lease_ignore_viewers(struct lease *l) {
    l->abandon_ms = -1;
}

static void count_viewers(struct lease *l, int64_t viewers) {
    uint64_t now = tc_mono_us();
    if (viewers > 0) {
        l->empty_looks = 0;
        l->empty_since_us = 0;
        return;
    }
    if (l->empty_looks++ == 0)
        l->empty_since_us = now;
    if (l->empty_looks <= LOOKS_MIN || now - l->empty_since_us < (uint64_t)l->abandon_ms * 1000)
        return;
    l->abandon_ms = -1;
    l->cbs.on_abandoned(l->arg);
}

static void on_count(void *arg, int err, const redisReply *reply) {
    struct lease *l = arg;
    int64_t viewers;
    l->pending--;
    l->asking = false;
    if (l->closing)
        maybe_closed(l);
    else if (err == 0 && l->abandon_ms >= 0 && tc_reply_int(reply, &viewers))
        count_viewers(l, viewers);
}

/* Viewer leases are scored with Redis's clock, so they are judged by it. */
static void on_time(void *arg, int err, const redisReply *reply) {
    struct lease *l = arg;
    int64_t s, us;
    l->pending--;
    l->asking = false;
    if (l->closing) {
        maybe_closed(l);
        return;
    }
    if (err < 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !tc_reply_int(reply->element[0], &s) ||
        !tc_reply_int(reply->element[1], &us))
        return;
    long long now_ms = s * 1000LL + us / 1000;
    if (tc_redis_command(l->redis, tc_str_from(l->viewers), on_count, l, "ZCOUNT %s %lld +inf", l->viewers, now_ms) ==
        0) {
        l->pending++;
        l->asking = true;
    }
}

static void ask_viewers(struct lease *l) {
    if (l->asking)
        return;
    if (tc_redis_command(l->redis, tc_str_from(l->viewers), on_time, l, "TIME") == 0) {
        l->pending++;
        l->asking = true;
    }
}

void lease_renew(struct lease *l) {
    jobs_renew(l->jobs, l->job, l->deliveries);
    if (l->abandon_ms >= 0)
        ask_viewers(l);
}

void lease_close(struct lease *l, void (*cb)(void *arg)) {
    assert(!l->closing);
    l->closing = true;
    l->close_cb = cb;
    uv_close((uv_handle_t *)&l->timer, on_timer_closed);
}
