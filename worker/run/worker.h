/* The worker as a whole: its links, its parts, the runs on its slots, and its shutdown. Caller's memory, zeroed, from
 * worker_start until on_stopped. One loop, its thread. */
#ifndef WORKER_RUN_WORKER_H
#define WORKER_RUN_WORKER_H

#include "ops/ops.h"
#include "run/backlog.h"
#include "run/job_run.h"

enum worker_phase {
    WORKER_RUNNING = 0,
    WORKER_DRAINING, /* no new jobs; running generations may finish within the grace time */
    WORKER_ENDING,   /* runs are handed back */
    WORKER_CLOSING   /* the parts close, one after another */
};

struct worker {
    uv_loop_t *loop;                   /* borrowed */
    const struct worker_options *opts; /* borrowed */
    char name[TC_ID_MAX + 1];
    enum worker_phase phase;
    struct tc_redis *redis, *blocking; /* all but the queue's reads; the queue's reads */
    struct job_env env;                /* publisher, provider, jobs and metrics are the worker's */
    struct tc_ops *ops;
    struct backlog backlog;
    struct tc_list runs; /* every job_run */
    size_t busy_slots;
    bool told_ready;
    uv_timer_t grace;
    int closing; /* closes under way in this step of the shutdown */
    void (*on_stopped)(void *arg);
    void *arg;
};

/* On error (logged) nothing is left, though the loop must run once more for closes; on_stopped is not called. */
TC_MUST_USE int worker_start(struct worker *w, uv_loop_t *loop, const struct worker_options *opts,
                             void (*on_stopped)(void *arg), void *arg);

/* The way out: no new jobs, the grace time, hand-backs, closes, on_stopped. Called again: without the grace time. */
void worker_stop(struct worker *w);

/* Whether jobs are taken (`arg` is the worker), and in one line why or why not; as struct tc_ops_handlers asks. */
int worker_is_ready(void *arg, struct tc_buf *why);

#endif
