/* A worker's claim on one job while it runs: a tick every third of the lease, the renewal, and with an abandon time the
 * count of viewers. Caller's memory, from lease_start until lease_close's callback. Loop thread. */
#ifndef WORKER_RUN_LEASE_H
#define WORKER_RUN_LEASE_H

#include "run/jobs.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct lease_callbacks {
    void (*on_tick)(void *arg);      /* time to look at the log; lease_renew only if it agrees (rule 8) */
    void (*on_abandoned)(void *arg); /* nobody watches for longer than the abandon time; at most once */
};

struct lease {
    uv_timer_t timer;
    struct jobs *jobs;      /* borrowed */
    struct tc_redis *redis; /* borrowed */
    const char *job;        /* borrowed */
    uint64_t deliveries;    /* of the job, this one included */
    struct lease_callbacks cbs;
    void *arg;
    char viewers[TC_KEY_MAX];
    int64_t abandon_ms;      /* -1: viewers do not matter */
    uint64_t empty_since_us; /* monotonic: no viewer since; 0 = there were some */
    unsigned empty_looks;    /* in a row */
    int pending;             /* unanswered commands */
    bool asking;             /* a count of viewers is under way */
    bool closing;
    bool timer_closed;
    void (*close_cb)(void *arg);
};

/* `l` is zeroed but for `deliveries`. */
void lease_start(struct lease *l, uv_loop_t *loop, struct jobs *jobs, struct tc_redis *redis, const char *job,
                 int64_t lease_ms, const struct lease_callbacks *cbs, void *arg);

/* From now on viewers of `gen` are counted at each renewal; none for `abandon_ms` and two renewals: on_abandoned. */
void lease_watch_viewers(struct lease *l, const char *prefix, const char *gen, int64_t abandon_ms);
void lease_ignore_viewers(struct lease *l);

void lease_renew(struct lease *l);
void lease_period(struct lease *l, uint64_t ms);          /* another time between ticks, from now on */
void lease_close(struct lease *l, void (*cb)(void *arg)); /* cb(arg of start) once, later */

#endif
