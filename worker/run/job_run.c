/* What becomes of a job: read, checked, opened, watched, acknowledged. See job_run.h for the states.
 *
 * Happy path: meta -> writer -> generate.c -> on_finished (the slot is free) -> settle time -> a look that agrees ->
 * acknowledged. What an earlier worker began is read first (recall.c). A fenced run neither renews nor acknowledges
 * (rule 8); a deleted generation is acknowledged and dropped; where Redis lost more than the writer can repeat, the run
 * begins a new attempt of its own. */
#include "run/job_run.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/reply.h"
#include "run/metrics.h"
#include "tokencast/error.h"
#include "wire/json.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SETTLE_LOOK_MIN_MS 20

#define TO(state) (1U << (state))

static const unsigned allowed[JOB_STATES] = {
    [JOB_LOADING] = TO(JOB_OPENING) | TO(JOB_ENDING),
    [JOB_OPENING] = TO(JOB_RECALLING) | TO(JOB_RUNNING) | TO(JOB_SETTLING) | TO(JOB_ENDING),
    [JOB_RECALLING] = TO(JOB_RUNNING) | TO(JOB_REOPENING) | TO(JOB_ENDING),
    [JOB_RUNNING] = TO(JOB_FINISHING) | TO(JOB_REOPENING) | TO(JOB_ENDING),
    [JOB_FINISHING] = TO(JOB_SETTLING) | TO(JOB_REOPENING) | TO(JOB_ENDING),
    [JOB_SETTLING] = TO(JOB_REOPENING) | TO(JOB_ENDING),
    [JOB_REOPENING] = TO(JOB_OPENING) | TO(JOB_ENDING),
    [JOB_ENDING] = 0,
};

void job_set_state(struct job_run *run, enum job_state state) {
    if (!(allowed[run->state] & TO(state)))
        abort(); /* the programmer's error; going on could write into somebody else's log */
    run->state = state;
}

const char *job_state_name(enum job_state state) {
    static const char *const names[JOB_STATES] = {"opening", "opening",  "opening", "running",
                                                  "running", "settling", "opening", "ending"};
    return names[state];
}

static void open_writer(struct job_run *run);

void job_free_slot(struct job_run *run) {
    if (run->slot_freed)
        return;
    run->slot_freed = true;
    run->env->on_slot_free(run->env->arg, run);
}

/* ---- Ending */

static void maybe_gone(struct job_run *run) {
    if (run->state != JOB_ENDING || run->writer || !run->lease_closed || run->pending > 0 || run->recall.reading)
        return;
    json_decref(run->request);
    run->env->on_gone(run->env->arg, run);
}

static void maybe_reopen(struct job_run *run) {
    if (run->state == JOB_REOPENING && !run->writer && !run->recall.reading)
        open_writer(run);
}

static void on_writer_closed(void *arg) {
    struct job_run *run = arg;
    run->writer = NULL;
    maybe_reopen(run);
    maybe_gone(run);
}

static void on_lease_closed(void *arg) {
    struct job_run *run = arg;
    run->lease_closed = true;
    maybe_gone(run);
}

static void settle_job(struct job_run *run, enum job_outcome outcome) {
    if (outcome == JOB_ACK) {
        jobs_ack(run->env->jobs, run->job);
    } else if (outcome == JOB_HAND_BACK) {
        jobs_hand_back(run->env->jobs, run->job, run->deliveries);
        tc_metrics_add(run->env->metrics, METRIC_JOBS_HANDED_BACK, NULL, NULL, 1);
    }
}

void job_run_end(struct job_run *run, enum job_outcome outcome) {
    if (run->state == JOB_ENDING)
        return;
    bool closing_writer = run->state == JOB_REOPENING;
    job_set_state(run, JOB_ENDING);
    generate_stop(run);
    (void)recall_forget(&run->recall);
    settle_job(run, outcome);
    if (run->writer && !closing_writer)
        tc_writer_close(run->writer, on_writer_closed, run);
    lease_close(&run->lease, on_lease_closed);
    job_free_slot(run);
}

static void drop(struct job_run *run, const char *why) {
    tc_log(TC_LOG_WARN, "job dropped", TC_LS("gen", run->gen), TC_LS("job", run->job), TC_LS("why", why),
           TC_LTRACE(&run->trace));
    tc_metrics_add(run->env->metrics, METRIC_JOBS_DROPPED, why, NULL, 1);
    job_run_end(run, JOB_ACK);
}

static void leave(struct job_run *run, int err) {
    tc_log(TC_LOG_WARN, "job left to others", TC_LS("gen", run->gen), TC_LS("job", run->job), TC_LERR(err),
           TC_LTRACE(&run->trace));
    job_run_end(run, JOB_LEAVE);
}

/* ---- The writer */

static void settle(struct job_run *run) {
    const struct worker_options *o = run->env->opts;
    int64_t period = o->settle < o->lease_ms / 3 ? o->settle : o->lease_ms / 3;
    job_set_state(run, JOB_SETTLING);
    run->finished_us = tc_mono_us();
    lease_ignore_viewers(&run->lease);
    lease_period(&run->lease, (uint64_t)(period > SETTLE_LOOK_MIN_MS ? period : SETTLE_LOOK_MIN_MS));
    job_free_slot(run);
}

static void on_recalled(void *arg) {
    struct job_run *run = arg;
    if (run->state != JOB_RECALLING) {
        maybe_reopen(run);
        maybe_gone(run);
        return;
    }
    job_set_state(run, JOB_RUNNING);
    generate_begin(run, true);
    (void)recall_forget(&run->recall);
}

/* The log ends with `last`, which is mine to go on from. */
static void begin(struct job_run *run, struct tc_position last) {
    char log[TC_KEY_MAX];
    if (last.seq <= 1) {
        job_set_state(run, JOB_RUNNING);
        generate_begin(run, false);
        return;
    }
    job_set_state(run, JOB_RECALLING);
    tc_key_gen(log, run->env->opts->prefix, TC_KEY_LOG, run->gen);
    recall_start(&run->recall, run->env->redis, log, last, (size_t)run->env->opts->max_log_bytes, on_recalled, run);
}

/* The log was made with the request, a job may have been queued anew by somebody who knew less, or other. */
static void take_trace(struct job_run *run) {
    const char *parent = tc_writer_traceparent(run->writer);
    if (*parent && strcmp(parent, run->trace.parent) != 0)
        tc_trace_take(&run->trace, tc_str_from(parent), TC_STR(""));
    tc_log(tc_trace_log_level(&run->trace), "job taken", TC_LS("gen", run->gen), TC_LS("job", run->job),
           TC_LI("deliveries", run->deliveries), TC_LTRACE(&run->trace));
}

static void on_open(void *arg, int err, struct tc_position last, bool ended) {
    struct job_run *run = arg;
    if (run->state == JOB_ENDING)
        return;
    if (err == 0 && run->reopened == 0)
        take_trace(run);
    if (err == TC_EGONE) {
        drop(run, "log is gone");
    } else if (err < 0) {
        leave(run, err);
    } else if (ended) {
        settle(run); /* its worker died before it could acknowledge the job */
    } else {
        begin(run, last);
    }
}

static void on_cancel(void *arg) {
    generate_cancel(arg, "client");
}

static void on_pressure(void *arg, bool stop) {
    generate_pressure(arg, stop);
}

static void reopen(struct job_run *run) {
    job_set_state(run, JOB_REOPENING);
    generate_stop(run);
    (void)recall_forget(&run->recall);
    run->tries++;
    run->reopened++;
    tc_writer_close(run->writer, on_writer_closed, run);
}

static void on_lost(void *arg, int err) {
    struct job_run *run = arg;
    if (run->state == JOB_ENDING)
        return;
    if (err == TC_EGONE)
        drop(run, "log is gone");
    else if (err == TC_EAGAIN && run->reopened < (uint64_t)run->env->opts->max_attempts)
        reopen(run);
    else
        leave(run, err);
}

static void on_finished(void *arg) {
    struct job_run *run = arg;
    if (run->state == JOB_SETTLING)
        run->finished_us = tc_mono_us(); /* repaired: the log is watched for as long again */
    if (run->state != JOB_FINISHING)
        return;
    generate_report(run);
    settle(run);
}

static void on_checked(void *arg, bool agrees) {
    struct job_run *run = arg;
    if (run->state == JOB_ENDING || !agrees)
        return;
    uint64_t settle_us = (uint64_t)run->env->opts->settle * 1000;
    if (run->state == JOB_SETTLING && tc_mono_us() - run->finished_us >= settle_us)
        job_run_end(run, JOB_ACK);
    else
        lease_renew(&run->lease);
}

static void open_writer(struct job_run *run) {
    static const struct tc_writer_callbacks cbs = {.on_open = on_open,
                                                   .on_cancel = on_cancel,
                                                   .on_pressure = on_pressure,
                                                   .on_lost = on_lost,
                                                   .on_finished = on_finished,
                                                   .on_checked = on_checked};
    job_set_state(run, JOB_OPENING);
    int rc = tc_writer_open(&run->writer, run->env->publisher, run->gen, false, NULL, NULL, &cbs, run);
    if (rc < 0) {
        run->writer = NULL;
        leave(run, rc);
    }
}

/* ---- meta */

enum meta_field { META_REQUEST, META_MODEL, META_JOB, META_ON_CRASH, META_ON_ABANDON, META_TRIES, META_FIELDS };
#define META_NAMES "request model job on_crash on_abandon_ms tries"

static void load(struct job_run *run);

static uint64_t number_or(struct tc_str s, uint64_t otherwise) {
    char text[24];
    char *end;
    if (s.n == 0 || s.n >= sizeof(text))
        return otherwise;
    memcpy(text, s.p, s.n);
    text[s.n] = '\0';
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    return errno || *end || text[0] == '-' || v > INT64_MAX ? otherwise : v;
}

static void on_job_set(void *arg, int err, const redisReply *reply) {
    struct job_run *run = arg;
    (void)err;
    (void)reply;
    run->pending--;
    if (run->state == JOB_ENDING)
        maybe_gone(run);
    else
        load(run);
}

/* The broker died between the queue and meta: the first worker completes what it began. */
static void set_job(struct job_run *run) {
    if (tc_redis_command(run->env->redis, tc_str_from(run->meta), on_job_set, run, "HSETNX %s job %s", run->meta,
                         run->job) == 0)
        run->pending++;
}

static enum crash_policy policy_of(struct tc_str name) {
    if (tc_str_is(name, "fail"))
        return CRASH_FAIL;
    return tc_str_is(name, "restart") ? CRASH_RESTART : CRASH_CONTINUE;
}

/* TC_ENOMEM: not taken. */
static int take_meta(struct job_run *run, const redisReply *r) {
    int err;
    struct tc_str request = tc_reply_str(r->element[META_REQUEST]);
    struct tc_str model = tc_reply_str(r->element[META_MODEL]);
    run->request = tc_json_load(request, 0, NULL, &err);
    if (err == TC_ENOMEM)
        return err;
    if (model.n == 0 && run->env->opts->model)
        model = tc_str_from(run->env->opts->model);
    snprintf(run->model, sizeof(run->model), "%.*s", (int)model.n, model.n ? model.p : "");
    run->on_crash = policy_of(tc_reply_str(r->element[META_ON_CRASH]));
    uint64_t abandon = number_or(tc_reply_str(r->element[META_ON_ABANDON]), UINT64_MAX);
    run->abandon_ms = abandon == UINT64_MAX ? -1 : (int64_t)abandon;
    uint64_t tries = number_or(tc_reply_str(r->element[META_TRIES]), 0) + 1;
    run->tries = tries > run->deliveries ? tries : run->deliveries;
    return 0;
}

static void on_meta(void *arg, int err, const redisReply *reply) {
    struct job_run *run = arg;
    run->pending--;
    if (run->state == JOB_ENDING) {
        maybe_gone(run);
        return;
    }
    if (err < 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements != META_FIELDS)
        return; /* the next tick asks again */
    struct tc_str job = tc_reply_str(reply->element[META_JOB]);
    if (tc_reply_str(reply->element[META_REQUEST]).n == 0) {
        drop(run, "meta is gone");
    } else if (job.n == 0) {
        set_job(run);
    } else if (!tc_str_is(job, run->job)) {
        drop(run, "another job runs it");
    } else {
        if (take_meta(run, reply) == 0) /* else the next tick asks again */
            open_writer(run);
    }
}

static void load(struct job_run *run) {
    if (run->pending == 0 &&
        tc_redis_command(run->env->redis, tc_str_from(run->meta), on_meta, run, "HMGET %s " META_NAMES, run->meta) == 0)
        run->pending++;
}

/* ---- The lease */

static void on_tick(void *arg) {
    struct job_run *run = arg;
    if (run->state == JOB_LOADING)
        load(run);
    else if (run->state == JOB_RECALLING)
        recall_again(&run->recall);
    /* A Redis that refuses the fence for a while is no reason for another worker to wait for the same. */
    if (run->state == JOB_OPENING)
        lease_renew(&run->lease);
    else if (run->writer && tc_writer_check(run->writer) < 0)
        return; /* not now; a lost lease is found out by the fence */
}

static void on_abandoned(void *arg) {
    generate_cancel(arg, "viewers");
}

void job_run_start(struct job_run *run, const struct job_env *env, const char *job, const char *gen,
                   const struct tc_trace *trace, uint64_t deliveries) {
    static const struct lease_callbacks cbs = {.on_tick = on_tick, .on_abandoned = on_abandoned};
    run->env = env;
    run->trace = *trace;
    run->deliveries = deliveries;
    run->abandon_ms = -1;
    snprintf(run->job, sizeof(run->job), "%s", job);
    snprintf(run->gen, sizeof(run->gen), "%s", gen);
    tc_key_gen(run->meta, env->opts->prefix, TC_KEY_META, gen);
    run->lease.deliveries = deliveries;
    lease_start(&run->lease, env->loop, env->jobs, env->redis, run->job, env->opts->lease_ms, &cbs, run);
    lease_renew(&run->lease); /* counts this delivery, before anything of it can do harm */
    load(run);
}
