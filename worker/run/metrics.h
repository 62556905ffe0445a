/* The worker's metrics: one table, and the gathering of what others count. Loop thread. */
#ifndef WORKER_RUN_METRICS_H
#define WORKER_RUN_METRICS_H

#include "base/metrics.h"
#include "redis/redis.h"
#include "run/backlog.h"
#include "tokencast/publish.h"

enum worker_metric {
    METRIC_TTFT,
    METRIC_PER_TOKEN,
    METRIC_OUTPUT_TOKENS,
    METRIC_GENERATIONS,
    METRIC_FINISHED,
    METRIC_CANCELS,
    METRIC_UPSTREAM_ERRORS,
    METRIC_UPSTREAM_RETRIES,
    METRIC_JOBS_TAKEN,
    METRIC_JOBS_DROPPED,
    METRIC_JOBS_HANDED_BACK,
    METRIC_TAKEOVERS,
    METRIC_APPENDS,
    METRIC_ANNOUNCEMENTS,
    METRIC_FENCED,
    METRIC_REFUSED,
    METRIC_REPEATED,
    METRIC_REDIS_RECONNECTS,
    METRIC_REDIS_COMMANDS,
    METRIC_REDIS_TIMEOUTS,
    METRIC_REDIS_UP,
    METRIC_SLOTS,
    METRIC_SLOTS_FREE,
    METRIC_QUEUE,
    METRIC_BUILD,
    METRICS_COUNT
};

struct tc_metrics *metrics_create(void); /* NULL when out of memory */

/* What libraries count by themselves, copied in at scrape time. */
void metrics_gather_publisher(struct tc_metrics *m, const struct tc_publisher_stats *s);
void metrics_gather_backlog(struct tc_metrics *m, const struct backlog *b);
void metrics_gather_redis(struct tc_metrics *m, const struct tc_redis_stats *s, bool up);

#endif
