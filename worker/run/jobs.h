/* The job queue as one worker sees it: takes new jobs while slots are free, claims those of silent workers, renews,
 * acknowledges and hands back. A job is a pointer: its id in the queue's stream and a generation. Loop thread. */
#ifndef WORKER_RUN_JOBS_H
#define WORKER_RUN_JOBS_H

#include "base/attr.h"
#include "redis/redis.h"
#include "wire/trace.h"

#include <stdint.h>
#include <uv.h>

struct jobs;

struct jobs_options {
    const char *prefix, *queue; /* borrowed during create */
    const char *consumer;       /* this worker's name in the group */
    int64_t lease_ms;           /* a job idle for longer is claimed */
};

struct jobs_callbacks {
    size_t (*free_slots)(void *arg); /* how many jobs may be taken now */
    /* `trace` is what the entry carries. `deliveries` counts how often the job was given to a worker, this time
     * included: it stands in the queue once jobs_renew has written it. Strings are valid in the call. */
    void (*on_job)(void *arg, const char *job, const char *gen, const struct tc_trace *trace, uint64_t deliveries);
    void (*on_ready)(void *arg); /* the group exists and jobs are awaited; after every reconnection */
    /* An entry of the queue that names no generation was acknowledged. */
    void (*on_garbage)(void *arg, const char *job);
};

/* `blocking` is for this queue's reads alone, `redis` for everything else; both are borrowed and must stay until
 * close's callback. TC_ENOMEM. */
TC_MUST_USE int jobs_create(struct jobs **out, uv_loop_t *loop, struct tc_redis *blocking, struct tc_redis *redis,
                            const struct jobs_options *opts, const struct jobs_callbacks *cbs, void *arg);

void jobs_kick(struct jobs *j); /* a slot is free again */
void jobs_stop(struct jobs *j); /* takes no more; what a running read still brings is handed back at once */

/* The lease begins anew. The job counts as given out `deliveries` times, whatever was claimed on a dead link. */
void jobs_renew(struct jobs *j, const char *job, uint64_t deliveries);
void jobs_ack(struct jobs *j, const char *job); /* over: leaves the queue */
/* Any worker may claim it at once; the `deliveries`th delivery is not counted. Somebody else's job stays theirs. */
void jobs_hand_back(struct jobs *j, const char *job, uint64_t deliveries);

/* Stops; cb once, when every command has been answered or failed; then the memory is gone. */
void jobs_close(struct jobs *j, void (*cb)(void *arg), void *arg);

#endif
