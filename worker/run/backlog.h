/* How long the job queue is, for metrics: one command every few seconds, of the group's own counters, which cost Redis
 * the same however many jobs there are. Loop thread; owned by the worker. */
#ifndef WORKER_RUN_BACKLOG_H
#define WORKER_RUN_BACKLOG_H

#include "redis/redis.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <uv.h>

struct backlog_counts {
    int64_t waiting; /* jobs that no worker was given yet; -1 = not known */
    int64_t taken;   /* jobs given to a worker and not acknowledged, handed back ones too; -1 = not known */
};

struct backlog {
    uv_timer_t timer;
    struct tc_redis *redis; /* borrowed until close's callback */
    char key[TC_KEY_MAX];
    struct backlog_counts counts;
    bool asking, closing, timer_closed;
    void (*close_cb)(void *arg);
    void *close_arg;
};

/* Caller's memory, until close's callback. */
void backlog_start(struct backlog *b, uv_loop_t *loop, struct tc_redis *redis, const char *prefix, const char *queue);
/* cb once, later. */
void backlog_close(struct backlog *b, void (*cb)(void *arg), void *arg);

/* From the answer to XINFO GROUPS. */
void backlog_read(const redisReply *groups, struct backlog_counts *out);

#endif
