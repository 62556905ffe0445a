/* One job on this worker: from its entry in the queue to its acknowledgement. job_run.c decides what becomes of the
 * job, generate.c carries tokens from the provider to the log. Loop thread; owned by the worker until on_gone.
 *
 *                              .--begun before--> RECALLING --log read--.
 *                              |                     |                  v
 *   LOADING --meta read--> OPENING --fenced----------|-------------> RUNNING --finish said--> FINISHING --acked-.
 *      |                    ^  |  ^                  | part of the log  |                       |               v
 *      |                    |  |  '---REOPENING<-----'----was lost------'-----------------------'----------- SETTLING
 *      |                    |  '--log has done--> SETTLING                                    (log agrees) -----|
 *      '--- dropped ------> ENDING <--- fenced, gone, refused, handed back --- any <----------------------------'
 *
 * Waits: LOADING for meta and RECALLING for the log (again at each tick), OPENING for the writer, RUNNING for the
 * provider, FINISHING for the last acknowledgement, SETTLING for the settle time and a look that agrees, REOPENING and
 * ENDING for closes and answers. */
#ifndef WORKER_RUN_JOB_RUN_H
#define WORKER_RUN_JOB_RUN_H

#include "base/list.h"
#include "provider/provider.h"
#include "run/jobs.h"
#include "run/lease.h"
#include "run/options.h"
#include "run/recall.h"
#include "tokencast/publish.h"
#include "wire/trace.h"

struct tc_metrics;
struct job_run;

enum job_state {
    JOB_LOADING = 0,
    JOB_OPENING,
    JOB_RECALLING,
    JOB_RUNNING,
    JOB_FINISHING,
    JOB_SETTLING,
    JOB_REOPENING,
    JOB_ENDING,
    JOB_STATES
};

/* What becomes of an answer whose worker died. */
enum crash_policy {
    CRASH_CONTINUE = 0, /* from where it broke off, if the provider can */
    CRASH_RESTART,
    CRASH_FAIL
};

enum job_outcome {
    JOB_LEAVE = 0, /* somebody else's: it runs, or its lease runs out */
    JOB_ACK,       /* over */
    JOB_HAND_BACK  /* somebody else's, at once */
};

/* What the runs of one worker share; all borrowed. */
struct job_env {
    uv_loop_t *loop;
    struct tc_redis *redis;
    struct tc_publisher *publisher;
    struct provider *provider;
    struct jobs *jobs;
    struct tc_metrics *metrics;
    const struct worker_options *opts;
    void (*on_slot_free)(void *arg, struct job_run *run); /* exactly once a run, at the end of the generation */
    void (*on_gone)(void *arg, struct job_run *run);      /* last: take it off the list and free it */
    void *arg;
};

struct job_run {
    struct tc_list node; /* the worker's */
    const struct job_env *env;
    enum job_state state;
    char job[TC_POSITION_MAX];
    char gen[TC_ID_MAX + 1];
    char meta[TC_KEY_MAX];
    struct tc_trace trace; /* of the request: the job's; once the log is open, the log's */
    uint64_t deliveries;   /* how often the job was given to a worker, hand-backs not counted */
    uint64_t tries;        /* of the generation, this one included; for people */
    uint64_t reopened;     /* attempts that this run began anew, because Redis lost a part of the log */
    struct lease lease;
    int pending; /* unanswered reads of meta */
    bool lease_closed;
    bool slot_freed;

    json_t *request; /* owned; NULL: what was posted is not JSON */
    char model[128];
    enum crash_policy on_crash;
    int64_t abandon_ms; /* -1: viewers do not matter */

    struct tc_writer *writer;             /* owned; NULL before opening and after its close */
    struct recall recall;                 /* what was said before; filled when RUNNING begins */
    struct provider_call *call;           /* owned; NULL unless tokens are awaited */
    bool going_on;                        /* `call` goes on from a prefix */
    bool pressed;                         /* too much waits for Redis: `call` is paused, or the next one begins so */
    const char *cancelled_by;             /* "client", "viewers"; NULL: nobody has */
    uint64_t began_us, first_us, last_us; /* monotonic: RUNNING, first and last piece */
    uint64_t output_tokens;
    char reason[24];
    uint64_t finished_us; /* monotonic; SETTLING began */
};

/* Takes the job; `run` is calloc'ed by the caller, who frees it in on_gone. */
void job_run_start(struct job_run *run, const struct job_env *env, const char *job, const char *gen,
                   const struct tc_trace *trace, uint64_t deliveries);

/* Ends the run: the provider is stopped, the writer closed, the job treated as `outcome` says. Idempotent. */
void job_run_end(struct job_run *run, enum job_outcome outcome);

const char *job_state_name(enum job_state state);

/* Between the two files. */
void job_set_state(struct job_run *run, enum job_state state);
void job_free_slot(struct job_run *run);                   /* idempotent */
void generate_begin(struct job_run *run, bool takeover);   /* the writer is open, RUNNING */
void generate_cancel(struct job_run *run, const char *by); /* stops the provider; done: cancelled */
void generate_stop(struct job_run *run);                   /* stops the provider and says nothing */
void generate_pressure(struct job_run *run, bool stop);
void generate_report(struct job_run *run); /* the log line and the metrics of a finished one */

#endif
