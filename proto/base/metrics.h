/* Prometheus metrics without locks: each loop has its own tc_metrics over the same static table; at scrape time they
 * are added up on one thread and rendered. A cell pointer makes the hot path one addition. */
#ifndef TC_BASE_METRICS_H
#define TC_BASE_METRICS_H

#include "base/attr.h"
#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

enum tc_metric_type { TC_COUNTER, TC_GAUGE, TC_HISTOGRAM };

struct tc_metric_desc {
    const char *name; /* whole name with unit and _total, as promtool wants it */
    enum tc_metric_type type;
    const char *help;
    const char *label;     /* label name, or NULL for one series */
    const char *label2;    /* second label, or NULL */
    const double *buckets; /* TC_HISTOGRAM: ascending upper bounds, ended by 0 */
    double scale;          /* rendered = value * scale; 0 means 1 (1e-6 for values kept in microseconds) */
};

struct tc_cell {
    double value;     /* counter, gauge; histogram: sum (unscaled) */
    uint64_t count;   /* histogram */
    uint64_t *bucket; /* histogram: not cumulative, one more than bounds (the last is +Inf) */
};

struct tc_metrics;

/* `descs` is static with `n` rows; an id is an index into it. NULL when out of memory. */
struct tc_metrics *tc_metrics_create(const struct tc_metric_desc *descs, size_t n);
void tc_metrics_destroy(struct tc_metrics *m);

/* The series of a metric with these label values (NULL where it has none); made on first use and never moved. At most
 * 64 series a metric: beyond that, and without memory, a shared series labelled "other" is returned. Never NULL. */
struct tc_cell *tc_metrics_cell(struct tc_metrics *m, size_t id, const char *label, const char *label2);

void tc_metrics_add(struct tc_metrics *m, size_t id, const char *label, const char *label2, double v);
void tc_metrics_set(struct tc_metrics *m, size_t id, const char *label, const char *label2, double v);
void tc_metrics_observe(struct tc_metrics *m, size_t id, const char *label, const char *label2, double v);

/* Forgets the series of a metric, for gauges of what is not known now: no sample says so, and 0 would be a lie. Their
 * cells are gone. */
void tc_metrics_clear(struct tc_metrics *m, size_t id);

/* dst += src, series by series (gauges add too). Both over the same table. */
void tc_metrics_merge(struct tc_metrics *dst, const struct tc_metrics *src);

/* Prometheus text format 0.0.4. A metric without series and without labels is rendered as 0. */
void tc_metrics_render(const struct tc_metrics *m, struct tc_buf *out);

/* Buckets of the OpenTelemetry GenAI semantic conventions 1.41, in seconds. */
extern const double tc_buckets_ttft[];
extern const double tc_buckets_per_token[];

#endif
