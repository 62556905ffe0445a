/* The load generator's last line. Main thread. */
#include "report.h"

#include <inttypes.h>
#include <stdio.h>

static int64_t count_faults(const struct crowd *c, int64_t counts[CHECKER_FAULT_COUNT], int64_t *example) {
    int64_t broken = 0;
    for (int64_t i = 0; i < c->opts.clients; i++) {
        enum checker_fault fault = c->clients[i].checker.fault;
        counts[fault]++;
        if (fault != CHECKER_none && broken++ == 0)
            *example = i;
    }
    return broken;
}

static void print_faults(const struct crowd *crowd, const int64_t counts[CHECKER_FAULT_COUNT], int64_t example) {
    const char *comma = "";
    printf(",\"faults\":{");
    for (int f = CHECKER_none + 1; f < CHECKER_FAULT_COUNT; f++) {
        if (counts[f] == 0)
            continue;
        printf("%s\"%s\":%" PRId64, comma, checker_fault_name((enum checker_fault)f), counts[f]);
        comma = ",";
    }
    printf("}");
    if (example >= 0) {
        const struct checker *c = &crowd->clients[example].checker;
        printf(",\"example\":{\"client\":%" PRId64 ",\"fault\":\"%s\",\"position\":\"%" PRIu64 "-%" PRIu64
               "\",\"status\":%d}",
               example, checker_fault_text(c->fault), c->last.attempt, c->last.seq, c->body.status);
    }
}

/* Processor time that neither the named processes nor this one had: what disturbs the measurement. In cores. */
static double others_cores(const struct window *w, double seconds) {
    double cpu = (double)(w->last.machine_cpu_us - w->first.machine_cpu_us);
    cpu -= (double)(w->last.own_cpu_us - w->first.own_cpu_us);
    for (size_t i = 0; i < w->pid_count; i++) {
        if (w->first.cpu_us[i] != UINT64_MAX && w->last.cpu_us[i] != UINT64_MAX)
            cpu -= (double)(w->last.cpu_us[i] - w->first.cpu_us[i]);
    }
    return cpu > 0 && seconds > 0 ? cpu / 1e6 / seconds : 0;
}

/* Seconds of each process named; null: it ended before the window did. */
static void print_cpu(const struct window *w, const char *name, const uint64_t *first, const uint64_t *last) {
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < w->pid_count; i++) {
        printf("%s", i > 0 ? "," : "");
        if (w->first.cpu_us[i] == UINT64_MAX || w->last.cpu_us[i] == UINT64_MAX)
            printf("null");
        else
            printf("%.3f", (double)(last[i] - first[i]) / 1e6);
    }
    printf("]");
}

static void print_window(const struct window *w) {
    const struct sample *a = &w->first, *b = &w->last;
    double seconds = (double)(b->mono_us - a->mono_us) / 1e6;
    uint64_t events = b->events - a->events;
    printf(",\"window\":{\"begun\":%.3f,\"seconds\":%.3f,\"events\":%" PRIu64 ",\"merged\":%" PRIu64
           ",\"bytes\":%" PRIu64 ",\"per_second\":%.0f,\"own_cpu\":%.3f,\"others_cores\":%.2f",
           (double)w->begun_us / 1e6, seconds, events, b->merged - a->merged, b->bytes - a->bytes,
           seconds > 0 ? (double)events / seconds : 0.0, (double)(b->own_cpu_us - a->own_cpu_us) / 1e6,
           others_cores(w, seconds));
    print_cpu(w, "cpu", a->cpu_us, b->cpu_us);
    print_cpu(w, "cpu_user", a->user_us, b->user_us);
    printf("}");
}

static void print_histogram(const char *name, const struct histogram *h) {
    printf(",\"%s\":{\"count\":%" PRIu64 ",\"mean\":%.0f,\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64
           ",\"max\":%" PRIu64 "}",
           name, h->count, h->count > 0 ? (double)h->sum / (double)h->count : 0.0, histogram_quantile(h, 0.5),
           histogram_quantile(h, 0.99), histogram_quantile(h, 0.999), h->max);
}

static void print_tally(const struct checker_tally *t, const struct checker_tally *more) {
    printf(",\"events\":%" PRIu64 ",\"merged\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"dropped\":%" PRIu64
           ",\"bytes\":%" PRIu64,
           t->events + more->events, t->merged + more->merged, t->gaps + more->gaps, t->dropped + more->dropped,
           t->bytes + more->bytes);
}

int64_t report_print(const struct crowd *crowd, const struct window *window, const struct histogram *latency) {
    static const struct checker_tally nothing;
    const struct crowd_options *opts = &crowd->opts;
    int64_t counts[CHECKER_FAULT_COUNT] = {0}, example = -1;
    int64_t broken = count_faults(crowd, counts, &example);
    printf("{\"clients\":%" PRId64 ",\"answered\":%" PRId64 ",\"whole\":%" PRId64, opts->clients, crowd->answered,
           opts->clients - broken);
    print_tally(&crowd->tally, &crowd->stalled_tally);
    print_faults(crowd, counts, example);
    if (window != NULL)
        print_window(window);
    print_histogram("latency_us", latency);
    print_histogram("head_us", &crowd->times.head);
    print_histogram("first_us", &crowd->times.first);
    print_histogram("whole_us", &crowd->times.whole);
    if (crowd->resumed_us > 0)
        print_histogram("caught_up_us", &crowd->times.caught_up);
    if (opts->stallers > 0) {
        printf(",\"stallers\":{\"clients\":%" PRId64, opts->stallers);
        print_tally(&crowd->stalled_tally, &nothing);
        printf("}");
    }
    printf("}\n");
    return broken;
}
