/* The broker's metrics: rows of the table, and how a loop's counters become series at scrape time. */
#ifndef BROKER_OPS_METRICS_H
#define BROKER_OPS_METRICS_H

#include "api/api.h"
#include "base/metrics.h"
#include "feed/hub.h"
#include "http/http.h"

/* A loop's own registry: only latency is observed as it happens; the rest is set from counters by metrics_collect(). */
struct tc_metrics *metrics_create(void);
void metrics_latency(struct tc_metrics *m, int64_t us);
/* Sets every series from what the loop's parts have counted. Loop thread. */
void metrics_collect(struct tc_metrics *m, const struct hub *hub, const struct http_stats *http, const struct api *api,
                     const struct tc_redis *redis);

/* Of the whole program: set in the sum, since the gauges of loops add up. */
void metrics_say_build(struct tc_metrics *sum);

#endif
