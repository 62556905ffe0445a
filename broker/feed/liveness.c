/* Happy path: PTTL of the log, meta's job -> its pending entry, which its worker renews every third of the lease ->
 * idle for less: alive. Idle for longer: stalled. Not pending: is it in the queue? There it waits for a worker (a
 * started one is stalled). Not there: the queue has lost it; it is queued again if it had not begun, or if nobody has
 * put off the log's expiry for so long that its worker must be dead too. Fails: the next look tries again. */
#include "feed/liveness.h"

#include "base/log.h"
#include "feed/queue.h"
#include "feed/status.h"
#include "redis/reply.h"

#include <string.h>

#define GROUP         "workers"
#define DEAD_LEASES   3
#define DEAD_LEAST_MS 65000 /* workers put off the expiry twice in that time */

static void conclude(struct feed *f, bool stalled, uint64_t next_ms) {
    uint64_t now = hub_now_ms(f->hub), sweep = (uint64_t)f->hub->opts.sweep_ms;
    f->looking = false;
    f->next_look_ms = now + (next_ms > sweep ? next_ms : sweep);
    if (f->state != FEED_READY || f->ended || now - f->event_ms < (uint64_t)f->hub->opts.lease_ms)
        return; /* it spoke meanwhile */
    if (stalled && !f->stalled) {
        f->hub->stats.stalls++;
        tc_log(TC_LOG_WARN, "no worker lives for a generation that is read", TC_LS("gen", f->id));
    }
    f->stalled = stalled;
    status_update(f);
}

static uint64_t lease(const struct feed *f) {
    return (uint64_t)f->hub->opts.lease_ms;
}

static void give_up(struct feed *f) {
    conclude(f, f->stalled, lease(f) / 3);
}

static struct tc_str jobs_key(const struct feed *f, char *out) {
    return (struct tc_str){out, tc_key_jobs(out, f->hub->opts.prefix, f->hub->opts.queue)};
}

/* Counts the reply off; false: of no use, or nobody is left to use it. */
static bool is_good(struct feed *f, int err) {
    if (feed_call_done(f))
        return false;
    if (err == 0)
        return true;
    give_up(f);
    return false;
}

static void sent(struct feed *f, int rc) {
    if (rc == 0)
        f->calls++;
    else
        give_up(f);
}

/* ---- queueing it again ---- */

static void on_named(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    (void)reply;
    if (is_good(f, err))
        conclude(f, f->stalled, lease(f));
}

static void on_queued(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!is_good(f, err))
        return;
    struct tc_str id = reply->type == REDIS_REPLY_STRING ? tc_reply_str(reply) : (struct tc_str){NULL, 0};
    if (id.n == 0) {
        give_up(f);
        return;
    }
    f->hub->stats.requeued++;
    tc_log(TC_LOG_WARN, "the queue had lost a job: queued again", TC_LS("gen", f->id), TC_LSTR("job", id));
    /* Somebody else may have been first: then a worker drops this one, since it is not meta's. */
    sent(f, tc_redis_command(f->hub->redis, tc_str_from(f->meta_key), on_named, f, "HSETNX %s job %b", f->meta_key,
                             id.p, id.n));
}

static void enqueue(struct feed *f) {
    char key[TC_KEY_MAX];
    struct tc_str jobs = jobs_key(f, key);
    sent(f, tc_redis_command(f->hub->redis, jobs, on_queued, f, "XADD %s * gen %s", key, f->id));
}

static void on_taken_back(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!is_good(f, err))
        return;
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer == 1)
        enqueue(f);
    else
        give_up(f);
}

static void on_request(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!is_good(f, err))
        return;
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer != 1)
        give_up(f); /* nobody could work from it */
    else if (f->job[0] == '\0')
        enqueue(f);
    else
        sent(f, tc_redis_command(f->hub->redis, tc_str_from(f->meta_key), on_taken_back, f, "EVAL %s 1 %s %s",
                                 LIVENESS_TAKE_BACK, f->meta_key, f->job));
}

static void job_is_lost(struct feed *f) {
    uint64_t dead = DEAD_LEASES * lease(f);
    if (dead < DEAD_LEAST_MS)
        dead = DEAD_LEAST_MS;
    if (f->started) { /* its worker may live and not know */
        if (f->renewed_ms == 0 || hub_now_ms(f->hub) - f->renewed_ms < dead) {
            conclude(f, true, lease(f) / 3);
            return;
        }
        f->stalled = true;
        status_update(f);
    }
    sent(f,
         tc_redis_command(f->hub->redis, tc_str_from(f->meta_key), on_request, f, "HEXISTS %s request", f->meta_key));
}

/* ---- looking ---- */

static void on_entry(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!is_good(f, err))
        return;
    if (reply->type != REDIS_REPLY_ARRAY)
        give_up(f);
    else if (reply->elements > 0)
        conclude(f, f->started, lease(f) / 3);
    else
        job_is_lost(f);
}

static void on_pending(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!is_good(f, err))
        return;
    int64_t idle = 0;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 && reply->element[0]->type == REDIS_REPLY_ARRAY &&
        reply->element[0]->elements == 4 && tc_reply_int(reply->element[0]->element[2], &idle)) {
        bool alive = idle >= 0 && (uint64_t)idle < lease(f);
        conclude(f, !alive, alive ? lease(f) - (uint64_t)idle : lease(f) / 3);
        return;
    }
    /* Not pending, or there is no such group: before the first worker, or because the queue is lost. */
    char key[TC_KEY_MAX];
    struct tc_str jobs = jobs_key(f, key);
    sent(f, tc_redis_command(f->hub->redis, jobs, on_entry, f, "XRANGE %s %s %s", key, f->job, f->job));
}

static void on_job(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!is_good(f, err))
        return;
    struct tc_str job = reply->type == REDIS_REPLY_STRING ? tc_reply_str(reply) : (struct tc_str){NULL, 0};
    struct tc_position pos;
    if (job.n > 0 && (job.n >= sizeof f->job || tc_position_parse(job.p, job.n, &pos) != 0)) {
        give_up(f);
        return;
    }
    memcpy(f->job, job.n > 0 ? job.p : "", job.n);
    f->job[job.n] = '\0';
    if (job.n == 0) {
        job_is_lost(f);
        return;
    }
    char key[TC_KEY_MAX];
    struct tc_str jobs = jobs_key(f, key);
    sent(f, tc_redis_command(f->hub->redis, jobs, on_pending, f, "XPENDING %s " GROUP " %s %s 1", key, f->job, f->job));
}

void liveness_note_ttl(struct feed *f, int64_t ttl) {
    uint64_t now = hub_now_ms(f->hub), expires = ttl >= 0 ? now + (uint64_t)ttl : 0;
    uint64_t slack = (uint64_t)f->hub->opts.sweep_ms;
    if (f->renewed_ms == 0 || expires == 0 || expires > f->expires_ms + slack)
        f->renewed_ms = now;
    f->expires_ms = expires;
}

static void on_ttl(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (!feed_call_done(f) && err == 0 && reply->type == REDIS_REPLY_INTEGER && reply->integer >= -1)
        liveness_note_ttl(f, reply->integer);
}

void liveness_check(struct feed *f, uint64_t now_ms) {
    bool quiet = now_ms - f->event_ms >= lease(f);
    if (!quiet || f->looking || now_ms < f->next_look_ms || !f->has_meta || status_is_cut_off(f) || !feed_is_watched(f))
        return;
    if (!f->started && queue_holds(f->hub, f->job)) { /* the look at the queue was for all who wait */
        conclude(f, false, lease(f) / 3);
        return;
    }
    struct tc_str route = tc_str_from(f->meta_key);
    f->calls += tc_redis_command(f->hub->redis, route, on_ttl, f, "PTTL %s", f->log_key) == 0;
    f->looking = true;
    sent(f, tc_redis_command(f->hub->redis, route, on_job, f, "HGET %s job", f->meta_key));
}
