/* The job queue. One command at a time on the blocking link: make the group, claim, read (for half a second at most),
 * again. Loop thread; owned by the worker.
 *
 * A job that kills its workers is known by how often it was given out. A claim alone does not count (JUSTID): its
 * answer may be lost with the link. Whoever begins with the job counts, by renewing it first. A lost link ends the
 * round; the next on_up begins anew. */
#include "run/jobs.h"

#include "base/log.h"
#include "redis/reply.h"
#include "tokencast/error.h"
#include "wire/keys.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GROUP        "workers"
#define NOBODY       "handed-back" /* consumer that holds jobs nobody works on */
#define BLOCK_MS     500           /* also what a stop may have to wait for */
#define TAKE_MAX     16            /* jobs taken by one read: leaves some for other workers */
#define RETRY_MS     500
#define CLAIM_MAX_MS 1000

struct jobs {
    struct tc_redis *blocking, *redis; /* borrowed */
    struct tc_redis_watch watch;       /* on blocking */
    struct jobs_callbacks cbs;
    void *arg;
    char key[TC_KEY_MAX];
    char consumer[TC_ID_MAX + 1];
    int64_t lease_ms;
    char cursor[TC_POSITION_MAX]; /* where the next claim goes on */
    bool linked;                  /* there was a link before */
    bool early;                   /* began before on_up */
    bool hold_claims;             /* the link is new: who renews must have had time to */
    bool grouped;                 /* the group exists on this link */
    bool claim_due;
    bool stopped, closing;
    int busy;    /* unanswered commands of the round */
    int pending; /* unanswered renewals, acknowledgements, hand-backs */
    uv_timer_t claim_timer, retry_timer;
    int handles;
    void (*close_cb)(void *arg);
    void *close_arg;
};

/* What an entry of the queue says. */
struct entry {
    char job[TC_POSITION_MAX];
    char gen[TC_ID_MAX + 1];
    struct tc_trace trace;
};

/* A claimed job that is being looked at. */
struct claimed {
    struct jobs *jobs;
    char job[TC_POSITION_MAX];
    uint64_t deliveries; /* this one included */
};

/* A job to be handed back, if it is still this worker's. */
struct handed {
    struct jobs *jobs;
    char job[TC_POSITION_MAX];
    uint64_t deliveries;
};

static void next(struct jobs *j);
static void on_claim_due(uv_timer_t *timer);

static struct tc_str route(const struct jobs *j) {
    return tc_str_from(j->key);
}

/* ---- Closing */

static void maybe_closed(struct jobs *j) {
    if (!j->closing || j->busy > 0 || j->pending > 0 || j->handles > 0)
        return;
    void (*cb)(void *) = j->close_cb;
    void *arg = j->close_arg;
    tc_redis_watch_remove(j->blocking, &j->watch);
    free(j);
    cb(arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct jobs *j = handle->data;
    j->handles--;
    maybe_closed(j);
}

void jobs_stop(struct jobs *j) {
    j->stopped = true;
    uv_timer_stop(&j->claim_timer);
    uv_timer_stop(&j->retry_timer);
}

void jobs_close(struct jobs *j, void (*cb)(void *arg), void *arg) {
    assert(!j->closing);
    jobs_stop(j);
    j->closing = true;
    j->close_cb = cb;
    j->close_arg = arg;
    uv_close((uv_handle_t *)&j->claim_timer, on_timer_closed);
    uv_close((uv_handle_t *)&j->retry_timer, on_timer_closed);
}

/* ---- One job */

static void on_told(void *arg, int err, const redisReply *reply) {
    struct jobs *j = arg;
    j->pending--;
    if (err == 0 && tc_reply_is_error(reply, NULL))
        tc_log(TC_LOG_WARN, "the job queue refused a command", TC_LSTR("reply", tc_reply_str(reply)));
    maybe_closed(j);
}

/* A command that was not sent, or whose answer was lost, does no harm: the lease runs out and another worker looks. */
static void tell(struct jobs *j, int rc) {
    j->pending += rc == 0;
}

void jobs_renew(struct jobs *j, const char *job, uint64_t deliveries) {
    /* JUSTID: plain XCLAIM counts as a delivery, and long jobs would look like killers. The count is written instead:
     * claims of others (plain XAUTOCLAIM) whose answers were lost killed nobody. */
    tell(j, tc_redis_command(j->redis, route(j), on_told, j, "XCLAIM %s " GROUP " %s 0 %s RETRYCOUNT %llu JUSTID",
                             j->key, j->consumer, job, (unsigned long long)deliveries));
}

void jobs_ack(struct jobs *j, const char *job) {
    tell(j, tc_redis_command(j->redis, route(j), on_told, j, "XACK %s " GROUP " %s", j->key, job));
    tell(j, tc_redis_command(j->redis, route(j), on_told, j, "XDEL %s %s", j->key, job));
}

/* Nothing killed this delivery: it is not to count against the job. */
static void give_away(struct jobs *j, const struct handed *h) {
    unsigned long long before = h->deliveries > 0 ? h->deliveries - 1 : 0;
    tell(j, tc_redis_command(j->redis, route(j), on_told, j,
                             "XCLAIM %s " GROUP " " NOBODY " 0 %s IDLE %lld RETRYCOUNT %llu JUSTID", j->key, h->job,
                             (long long)j->lease_ms * 2, before));
}

static void on_owner(void *arg, int err, const redisReply *reply) {
    struct handed *h = arg;
    struct jobs *j = h->jobs;
    j->pending--;
    if (err == 0 && reply->type == REDIS_REPLY_ARRAY && reply->elements == 1)
        give_away(j, h);
    free(h);
    maybe_closed(j);
}

void jobs_hand_back(struct jobs *j, const char *job, uint64_t deliveries) {
    /* A worker that was stopped past its lease and is asked to end before it notices must not take the job from the
     * one that runs it now. */
    struct handed *h = calloc(1, sizeof(*h));
    if (!h)
        return; /* the lease runs out */
    h->jobs = j;
    h->deliveries = deliveries;
    snprintf(h->job, sizeof(h->job), "%s", job);
    int rc = tc_redis_command(j->redis, route(j), on_owner, h, "XPENDING %s " GROUP " %s %s 1 %s", j->key, job, job,
                              j->consumer);
    if (rc < 0)
        free(h);
    tell(j, rc);
}

/* ---- The round */

static void retry_later(struct jobs *j);

/* What was handed back waits for no lease: it is looked for often. */
static uint64_t claim_period(int64_t lease_ms) {
    uint64_t third = (uint64_t)lease_ms / 3;
    return third < CLAIM_MAX_MS ? third : CLAIM_MAX_MS;
}

/* rc is what tc_redis_command said. Without a link, on_up begins anew. */
static void sent(struct jobs *j, int rc) {
    if (rc == 0)
        j->busy++;
    else if (rc != TC_ELINK)
        retry_later(j);
}

/* First lines of a reply of the round. true: an answer to work with. */
static bool round_reply(struct jobs *j, int err, const redisReply *reply) {
    j->busy--;
    if (j->closing && err < 0) {
        maybe_closed(j);
        return false;
    }
    if (err < 0) {
        j->grouped = false;
        return false;
    }
    if (!tc_reply_is_error(reply, NULL))
        return true;
    if (!tc_reply_is_error(reply, "BUSYGROUP")) {
        tc_log(TC_LOG_WARN, "the job queue refused a command", TC_LSTR("reply", tc_reply_str(reply)));
        j->grouped = false;
        retry_later(j);
        maybe_closed(j);
        return false;
    }
    return true;
}

/* Entry i of a stream reply as a job. TC_EINVAL: an entry, but it names no generation. */
static int read_job(const redisReply *entries, size_t i, struct entry *out) {
    struct tc_reply_entry entry;
    int rc = tc_reply_entry(entries, i, &entry);
    if (rc < 0)
        return rc;
    (void)tc_position_format(entry.position, out->job);
    const redisReply *fields = entries->element[i]->element[1];
    struct tc_str name = tc_reply_field(fields, "gen");
    if (!tc_id_valid(name))
        return TC_EINVAL;
    snprintf(out->gen, sizeof(out->gen), "%.*s", (int)name.n, name.p);
    tc_trace_take(&out->trace, tc_reply_field(fields, "traceparent"), tc_reply_field(fields, "tracestate"));
    return 0;
}

static void drop_garbage(struct jobs *j, const char *job) {
    tc_log(TC_LOG_WARN, "a job names no generation, dropped", TC_LS("job", job));
    jobs_ack(j, job);
    j->cbs.on_garbage(j->arg, job);
}

static void deliver(struct jobs *j, const struct entry *e, uint64_t deliveries) {
    if (j->stopped)
        jobs_hand_back(j, e->job, deliveries);
    else
        j->cbs.on_job(j->arg, e->job, e->gen, &e->trace, deliveries);
}

static void on_read(void *arg, int err, const redisReply *reply) {
    struct jobs *j = arg;
    struct entry e;
    if (!round_reply(j, err, reply))
        return;
    const redisReply *entries = NULL;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && reply->element[0]->type == REDIS_REPLY_ARRAY &&
        reply->element[0]->elements == 2)
        entries = reply->element[0]->element[1];
    for (size_t i = 0; entries && entries->type == REDIS_REPLY_ARRAY && i < entries->elements; i++) {
        int rc = read_job(entries, i, &e);
        if (rc == 0)
            deliver(j, &e, 1);
        else if (rc == TC_EINVAL)
            drop_garbage(j, e.job);
    }
    next(j);
}

static void on_entry(void *arg, int err, const redisReply *reply) {
    struct claimed *c = arg;
    struct jobs *j = c->jobs;
    struct entry e;
    if (round_reply(j, err, reply)) {
        int rc = read_job(reply, 0, &e);
        if (rc == 0)
            deliver(j, &e, c->deliveries);
        else if (rc == TC_EINVAL)
            drop_garbage(j, c->job);
        else
            jobs_ack(j, c->job); /* its entry was deleted */
        next(j);
    }
    free(c);
}

static void on_count(void *arg, int err, const redisReply *reply) {
    struct claimed *c = arg;
    struct jobs *j = c->jobs;
    int64_t before = 0;
    int rc = TC_ENOTFOUND;
    if (round_reply(j, err, reply)) {
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1 && reply->element[0]->elements == 4 &&
            tc_reply_int(reply->element[0]->element[3], &before) && before >= 0) {
            c->deliveries = (uint64_t)before + 1;
            rc = tc_redis_command(j->blocking, route(j), on_entry, c, "XRANGE %s %s %s", j->key, c->job, c->job);
            sent(j, rc);
        }
        next(j);
    }
    if (rc < 0)
        free(c);
}

static void look_at(struct jobs *j, struct tc_str id) {
    struct tc_position at;
    struct claimed *c = calloc(1, sizeof(*c));
    if (!c || tc_position_parse(id.p, id.n, &at) < 0) {
        free(c); /* claimed and forgotten: it is idle again after a lease */
        return;
    }
    c->jobs = j;
    (void)tc_position_format(at, c->job);
    int rc =
        tc_redis_command(j->blocking, route(j), on_count, c, "XPENDING %s " GROUP " %s %s 1", j->key, c->job, c->job);
    if (rc < 0)
        free(c);
    sent(j, rc);
}

static void on_claim(void *arg, int err, const redisReply *reply) {
    struct jobs *j = arg;
    struct tc_position cursor;
    if (!round_reply(j, err, reply))
        return;
    const redisReply *ids = NULL;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements >= 2 && reply->element[1]->type == REDIS_REPLY_ARRAY) {
        struct tc_str at = tc_reply_str(reply->element[0]);
        ids = reply->element[1];
        if (tc_position_parse(at.p, at.n, &cursor) == 0)
            (void)tc_position_format(cursor, j->cursor);
    }
    for (size_t i = 0; ids && i < ids->elements; i++)
        look_at(j, tc_reply_str(ids->element[i]));
    next(j);
}

/* While Redis was away nobody could renew, and every job looks abandoned: those that are not get a lease's time. */
static void begin_claims(struct jobs *j) {
    if (!j->hold_claims) {
        j->claim_due = true;
        return;
    }
    j->hold_claims = false;
    uv_timer_start(&j->claim_timer, on_claim_due, (uint64_t)j->lease_ms, claim_period(j->lease_ms));
}

static void on_group(void *arg, int err, const redisReply *reply) {
    struct jobs *j = arg;
    if (!round_reply(j, err, reply))
        return;
    j->grouped = true;
    begin_claims(j);
    if (!j->closing)
        j->cbs.on_ready(j->arg);
    next(j);
}

static void next(struct jobs *j) {
    if (j->closing) {
        maybe_closed(j);
        return;
    }
    if (j->stopped || j->busy > 0 || uv_is_active((uv_handle_t *)&j->retry_timer))
        return;
    if (!j->grouped) {
        /* From 0: jobs that were queued before the first worker came count. */
        sent(j, tc_redis_command(j->blocking, route(j), on_group, j, "XGROUP CREATE %s " GROUP " 0 MKSTREAM", j->key));
        return;
    }
    size_t free_slots = j->cbs.free_slots(j->arg);
    int count = (int)(free_slots < TAKE_MAX ? free_slots : TAKE_MAX);
    if (count == 0)
        return; /* jobs_kick comes */
    if (j->claim_due) {
        j->claim_due = false;
        sent(j,
             tc_redis_command(j->blocking, route(j), on_claim, j, "XAUTOCLAIM %s " GROUP " %s %lld %s COUNT %d JUSTID",
                              j->key, j->consumer, (long long)j->lease_ms, j->cursor, count));
        return;
    }
    sent(j, tc_redis_command(j->blocking, route(j), on_read, j,
                             "XREADGROUP GROUP " GROUP " %s COUNT %d BLOCK %d STREAMS %s >", j->consumer, count,
                             BLOCK_MS, j->key));
}

static void on_retry(uv_timer_t *timer) {
    next(timer->data);
}

static void retry_later(struct jobs *j) {
    if (!j->stopped)
        uv_timer_start(&j->retry_timer, on_retry, RETRY_MS, 0);
}

static void on_claim_due(uv_timer_t *timer) {
    struct jobs *j = timer->data;
    j->claim_due = true;
    next(j);
}

static void begin(struct jobs *j) {
    j->grouped = false;
    j->hold_claims = j->linked;
    j->linked = true;
    j->claim_due = false;
    uv_timer_stop(&j->retry_timer);
    next(j);
}

static void on_up(void *arg) {
    struct jobs *j = arg;
    bool running = j->early && (j->grouped || j->busy > 0);
    j->early = false;
    if (!running)
        begin(j);
}

/* In a Cluster the queue's master may be there while another one is away, and on_up far. */
static void on_change(void *arg) {
    struct jobs *j = arg;
    if (j->grouped || j->busy > 0 || !tc_redis_reaches(j->blocking, route(j)))
        return;
    j->early = true;
    begin(j);
}

void jobs_kick(struct jobs *j) {
    next(j);
}

int jobs_create(struct jobs **out, uv_loop_t *loop, struct tc_redis *blocking, struct tc_redis *redis,
                const struct jobs_options *opts, const struct jobs_callbacks *cbs, void *arg) {
    struct jobs *j = calloc(1, sizeof(*j));
    if (!j)
        return TC_ENOMEM;
    j->blocking = blocking;
    j->redis = redis;
    j->cbs = *cbs;
    j->arg = arg;
    j->lease_ms = opts->lease_ms;
    snprintf(j->consumer, sizeof(j->consumer), "%s", opts->consumer);
    snprintf(j->cursor, sizeof(j->cursor), "0-0");
    tc_key_jobs(j->key, opts->prefix, opts->queue);
    j->watch = (struct tc_redis_watch){.on_up = on_up, .on_change = on_change, .arg = j};
    tc_redis_watch_add(blocking, &j->watch);
    uv_timer_init(loop, &j->claim_timer);
    uv_timer_init(loop, &j->retry_timer);
    j->claim_timer.data = j->retry_timer.data = j;
    j->handles = 2;
    uv_timer_start(&j->claim_timer, on_claim_due, claim_period(opts->lease_ms), claim_period(opts->lease_ms));
    *out = j;
    next(j);
    return 0;
}
