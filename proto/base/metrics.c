/* Metrics of one loop: a list of series for each row of the table. One thread uses it at a time; tc_metrics_merge() is
 * called where the other loop's copy was handed over. */
#include "base/metrics.h"

#include "base/utf8.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SERIES      64
#define LABEL_MAX_BYTES 128
#define OTHER           "other"

struct series {
    struct series *next;
    struct tc_cell cell;
    char label[LABEL_MAX_BYTES + 1], label2[LABEL_MAX_BYTES + 1];
};

struct family {
    struct series *first, *last; /* in the order they came */
    size_t count;
    struct series other; /* takes what has no series of its own */
    bool other_used;
};

struct tc_metrics {
    const struct tc_metric_desc *descs;
    size_t n;
    struct family families[];
};

const double tc_buckets_ttft[] = {0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25,
                                  0.5,   0.75,  1.0,  2.5,  5.0,  7.5,  10.0, 0};
const double tc_buckets_per_token[] = {0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 0};

static size_t bounds(const struct tc_metric_desc *d) {
    size_t n = 0;
    while (d->type == TC_HISTOGRAM && d->buckets[n] != 0)
        n++;
    return n;
}

/* Whole characters, cut to what a series holds. */
static struct tc_str cut_label(const char *label) {
    struct tc_str s = tc_str_from(label ? label : "");
    if (s.n > LABEL_MAX_BYTES)
        s.n = tc_utf8_complete((struct tc_str){s.p, LABEL_MAX_BYTES});
    return s;
}

static int series_init(struct series *s, const struct tc_metric_desc *d, const char *label, const char *label2) {
    struct tc_str a = cut_label(label), b = cut_label(label2);
    *s = (struct series){0};
    memcpy(s->label, a.p, a.n);
    memcpy(s->label2, b.p, b.n);
    if (d->type == TC_HISTOGRAM)
        s->cell.bucket = calloc(bounds(d) + 1, sizeof(*s->cell.bucket));
    return d->type == TC_HISTOGRAM && s->cell.bucket == NULL ? -1 : 0;
}

struct tc_metrics *tc_metrics_create(const struct tc_metric_desc *descs, size_t n) {
    struct tc_metrics *m = calloc(1, sizeof(*m) + n * sizeof(m->families[0]));
    if (m == NULL)
        return NULL;
    m->descs = descs;
    m->n = n;
    for (size_t i = 0; i < n; i++) {
        const struct tc_metric_desc *d = &descs[i];
        if (series_init(&m->families[i].other, d, d->label ? OTHER : "", d->label2 ? OTHER : "") < 0) {
            tc_metrics_destroy(m);
            return NULL;
        }
    }
    return m;
}

static void free_series(struct family *f) {
    struct series *s = f->first, *next;
    for (; s != NULL; s = next) {
        next = s->next;
        free(s->cell.bucket);
        free(s);
    }
    f->first = f->last = NULL;
    f->count = 0;
}

void tc_metrics_destroy(struct tc_metrics *m) {
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->n; i++) {
        free_series(&m->families[i]);
        free(m->families[i].other.cell.bucket);
    }
    free(m);
}

void tc_metrics_clear(struct tc_metrics *m, size_t id) {
    struct family *f = &m->families[id];
    free_series(f);
    f->other_used = false;
    f->other.cell.value = 0;
    f->other.cell.count = 0;
    if (f->other.cell.bucket != NULL)
        memset(f->other.cell.bucket, 0, (bounds(&m->descs[id]) + 1) * sizeof(*f->other.cell.bucket));
}

static bool is_series(const struct series *s, struct tc_str label, struct tc_str label2) {
    return tc_str_is(label, s->label) && tc_str_is(label2, s->label2);
}

static struct series *series_create(struct family *f, const struct tc_metric_desc *d, const char *label,
                                    const char *label2) {
    struct series *s = f->count < MAX_SERIES ? malloc(sizeof(*s)) : NULL;
    if (s != NULL && series_init(s, d, label, label2) < 0) {
        free(s);
        s = NULL;
    }
    if (s == NULL)
        return NULL;
    if (f->last != NULL)
        f->last->next = s;
    else
        f->first = s;
    f->last = s;
    f->count++;
    return s;
}

struct tc_cell *tc_metrics_cell(struct tc_metrics *m, size_t id, const char *label, const char *label2) {
    struct family *f = &m->families[id];
    const struct tc_metric_desc *d = &m->descs[id];
    if (d->label == NULL) { /* its one series is the shared one */
        f->other_used = true;
        return &f->other.cell;
    }
    struct tc_str a = cut_label(label), b = cut_label(d->label2 ? label2 : NULL);
    struct series *s;
    for (s = f->first; s != NULL; s = s->next)
        if (is_series(s, a, b))
            return &s->cell;
    /* A series that is truly called "other" is the shared one. */
    s = is_series(&f->other, a, b) ? NULL : series_create(f, d, label, d->label2 ? label2 : NULL);
    if (s != NULL)
        return &s->cell;
    f->other_used = true;
    return &f->other.cell;
}

void tc_metrics_add(struct tc_metrics *m, size_t id, const char *label, const char *label2, double v) {
    tc_metrics_cell(m, id, label, label2)->value += v;
}

void tc_metrics_set(struct tc_metrics *m, size_t id, const char *label, const char *label2, double v) {
    tc_metrics_cell(m, id, label, label2)->value = v;
}

static double scale(const struct tc_metric_desc *d) {
    return d->scale != 0 ? d->scale : 1;
}

void tc_metrics_observe(struct tc_metrics *m, size_t id, const char *label, const char *label2, double v) {
    const struct tc_metric_desc *d = &m->descs[id];
    struct tc_cell *cell = tc_metrics_cell(m, id, label, label2);
    size_t i = 0;
    while (d->buckets[i] != 0 && v * scale(d) > d->buckets[i])
        i++;
    cell->bucket[i]++;
    cell->count++;
    cell->value += v;
}

static void add_cell(struct tc_cell *dst, const struct tc_cell *src, size_t buckets) {
    dst->value += src->value;
    dst->count += src->count;
    for (size_t i = 0; src->bucket != NULL && dst->bucket != NULL && i < buckets; i++)
        dst->bucket[i] += src->bucket[i];
}

void tc_metrics_merge(struct tc_metrics *dst, const struct tc_metrics *src) {
    for (size_t i = 0; i < src->n; i++) {
        const struct family *f = &src->families[i];
        size_t buckets = bounds(&src->descs[i]) + 1;
        for (const struct series *s = f->first; s != NULL; s = s->next)
            add_cell(tc_metrics_cell(dst, i, s->label, s->label2), &s->cell, buckets);
        if (f->other_used) {
            dst->families[i].other_used = true;
            add_cell(&dst->families[i].other.cell, &f->other.cell, buckets);
        }
    }
}

/* name="value" with the escapes of the text format; bytes that are not UTF-8 would make the whole page unreadable. */
static void put_label(struct tc_buf *out, const char *name, const char *value) {
    struct tc_str s = tc_str_from(value);
    tc_buf_printf(out, "%s=\"", name);
    while (s.n > 0) {
        size_t n = tc_utf8_char(s);
        if (n == 0)
            tc_buf_puts(out, "\xef\xbf\xbd");
        else if (*s.p == '\n')
            tc_buf_puts(out, "\\n");
        else if (*s.p == '"' || *s.p == '\\')
            tc_buf_append(out, (const char[]){'\\', *s.p}, 2);
        else
            tc_buf_append(out, s.p, n);
        n = n ? n : 1;
        s = (struct tc_str){s.p + n, s.n - n};
    }
    tc_buf_putc(out, '"');
}

/* `name_suffix{label="…",le="…"} `: all of a line but its value. le NULL: none. */
static void put_name(struct tc_buf *out, const struct tc_metric_desc *d, const struct series *s, const char *suffix,
                     const char *le) {
    const char *sep = "{";
    tc_buf_printf(out, "%s%s", d->name, suffix);
    if (d->label != NULL) {
        tc_buf_puts(out, sep);
        put_label(out, d->label, s->label);
        sep = ",";
    }
    if (d->label2 != NULL) {
        tc_buf_puts(out, sep);
        put_label(out, d->label2, s->label2);
        sep = ",";
    }
    if (le != NULL) {
        tc_buf_puts(out, sep);
        put_label(out, "le", le);
        sep = ",";
    }
    tc_buf_puts(out, *sep == ',' ? "} " : " ");
}

static void put_histogram(struct tc_buf *out, const struct tc_metric_desc *d, const struct series *s) {
    uint64_t sum = 0;
    char le[32];
    for (size_t i = 0; d->buckets[i] != 0; i++) {
        sum += s->cell.bucket[i];
        snprintf(le, sizeof(le), "%.12g", d->buckets[i]);
        put_name(out, d, s, "_bucket", le);
        tc_buf_put_u64(out, sum);
        tc_buf_putc(out, '\n');
    }
    put_name(out, d, s, "_bucket", "+Inf");
    tc_buf_put_u64(out, s->cell.count);
    tc_buf_putc(out, '\n');
    put_name(out, d, s, "_sum", NULL);
    tc_buf_put_double(out, s->cell.value * scale(d));
    tc_buf_putc(out, '\n');
    put_name(out, d, s, "_count", NULL);
    tc_buf_put_u64(out, s->cell.count);
    tc_buf_putc(out, '\n');
}

static void put_series(struct tc_buf *out, const struct tc_metric_desc *d, const struct series *s) {
    if (d->type == TC_HISTOGRAM) {
        put_histogram(out, d, s);
        return;
    }
    put_name(out, d, s, "", NULL);
    tc_buf_put_double(out, s->cell.value * scale(d));
    tc_buf_putc(out, '\n');
}

void tc_metrics_render(const struct tc_metrics *m, struct tc_buf *out) {
    static const char *const types[] = {[TC_COUNTER] = "counter", [TC_GAUGE] = "gauge", [TC_HISTOGRAM] = "histogram"};
    for (size_t i = 0; i < m->n; i++) {
        const struct tc_metric_desc *d = &m->descs[i];
        const struct family *f = &m->families[i];
        tc_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", d->name, d->help, d->name, types[d->type]);
        for (const struct series *s = f->first; s != NULL; s = s->next)
            put_series(out, d, s);
        if (f->other_used || d->label == NULL)
            put_series(out, d, &f->other);
    }
}
