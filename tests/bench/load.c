/* The load generator: a crowd of SSE clients, each checked to the event. Prints one JSON line when all are answered
 * ({"ready":…}) and one with the results at the end. Status 0: every client whole; 1: not; 2: could not run.
 *
 * Figures are taken over a window that begins `warmup` seconds after the first delta (0: with the program): events
 * delivered, their latency, and the processor time of the processes named, between the same two moments. One thread. */
#include "args.h"
#include "crowd.h"
#include "meter.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PIDS 8

enum phase { PHASE_QUIET = 0, PHASE_WARMUP, PHASE_MEASURE, PHASE_AFTER };

/* What has been counted at one moment. */
struct sample {
    uint64_t mono_us, events, merged, bytes, own_cpu_us;
    uint64_t cpu_us[MAX_PIDS];
};

struct load {
    struct crowd crowd;
    const char *pids_text;
    int64_t pids[MAX_PIDS];
    size_t pid_count;
    double warmup, measure, deadline; /* seconds */
    bool hold;                        /* only keep the connections until standard input ends */
    bool announced;
    enum phase phase;
    uint64_t began_us, phase_us; /* monotonic */
    struct sample first, last;
    struct histogram latency;
};

static struct load load; /* the histogram alone is 60 KB */

static void parse_pids(struct load *l) {
    const char *p = l->pids_text;
    while (*p != '\0') {
        char *end = NULL;
        long pid = strtol(p, &end, 10);
        if (end == p || pid < 1 || l->pid_count == MAX_PIDS || (*end != '\0' && *end != ','))
            bench_die("--pids: up to %d process ids with commas, not %s", MAX_PIDS, l->pids_text);
        l->pids[l->pid_count++] = pid;
        p = *end == ',' ? end + 1 : end;
    }
}

static void take_sample(const struct load *l, struct sample *s) {
    for (size_t i = 0; i < l->pid_count; i++)
        s->cpu_us[i] = meter_cpu_us(l->pids[i]);
    s->own_cpu_us = meter_own_cpu_us();
    s->mono_us = meter_mono_us();
    s->events = l->crowd.tally.events;
    s->merged = l->crowd.tally.merged;
    s->bytes = l->crowd.tally.bytes;
}

static void enter(struct load *l, enum phase phase, uint64_t now) {
    l->phase = phase;
    l->phase_us = now;
    if (phase == PHASE_MEASURE) {
        take_sample(l, &l->first);
        l->crowd.tally.latency = &l->latency;
    } else if (phase == PHASE_AFTER) {
        take_sample(l, &l->last);
        l->crowd.tally.latency = NULL;
    }
}

static void advance(struct load *l, uint64_t now) {
    double in_phase = (double)(now - l->phase_us) / 1e6;
    if (l->phase == PHASE_QUIET && l->crowd.tally.deltas > 0)
        enter(l, PHASE_WARMUP, now);
    else if (l->phase == PHASE_WARMUP && in_phase >= l->warmup)
        enter(l, PHASE_MEASURE, now);
    else if (l->phase == PHASE_MEASURE && in_phase >= l->measure)
        enter(l, PHASE_AFTER, now);
}

static void announce(struct load *l) {
    if (l->announced || !crowd_ready(&l->crowd))
        return;
    l->announced = true;
    printf("{\"ready\":%" PRId64 "}\n", l->crowd.answered);
    fflush(stdout);
}

/* Standard input has ended (or holds something, which counts as well): whoever holds us has seen enough. */
static bool released(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, 0) != 0;
}

static void run(struct load *l) {
    struct crowd *c = &l->crowd;
    uint64_t now = l->began_us;
    uint64_t end = l->began_us + (uint64_t)(l->deadline * 1e6);
    if (l->warmup <= 0)
        enter(l, PHASE_MEASURE, now);
    while (!crowd_over(c)) {
        if (now >= end) {
            crowd_close(c, CHECKER_late);
            break;
        }
        if (l->hold && l->announced && released()) {
            crowd_close(c, CHECKER_none);
            break;
        }
        if (crowd_step(c, 20) != 0)
            bench_die("epoll: %s", strerror(errno));
        now = meter_mono_us();
        announce(l);
        advance(l, now);
    }
    if (l->phase == PHASE_MEASURE)
        enter(l, PHASE_AFTER, now);
}

static int64_t count_faults(const struct load *l, int64_t counts[CHECKER_FAULT_COUNT], int64_t *example) {
    int64_t broken = 0;
    for (int64_t i = 0; i < l->crowd.opts.clients; i++) {
        enum checker_fault fault = l->crowd.clients[i].checker.fault;
        counts[fault]++;
        if (fault != CHECKER_none && broken++ == 0)
            *example = i;
    }
    return broken;
}

static void print_faults(const struct load *l, const int64_t counts[CHECKER_FAULT_COUNT], int64_t example) {
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
        const struct checker *c = &l->crowd.clients[example].checker;
        printf(",\"example\":{\"client\":%" PRId64 ",\"fault\":\"%s\",\"position\":\"%" PRIu64 "-%" PRIu64 "\"}",
               example, checker_fault_text(c->fault), c->last.attempt, c->last.seq);
    }
}

static void print_window(const struct load *l) {
    const struct sample *a = &l->first, *b = &l->last;
    double seconds = (double)(b->mono_us - a->mono_us) / 1e6;
    uint64_t events = b->events - a->events;
    printf(",\"window\":{\"seconds\":%.3f,\"events\":%" PRIu64 ",\"merged\":%" PRIu64 ",\"bytes\":%" PRIu64
           ",\"per_second\":%.0f,\"own_cpu\":%.3f,\"cpu\":[",
           seconds, events, b->merged - a->merged, b->bytes - a->bytes, seconds > 0 ? (double)events / seconds : 0.0,
           (double)(b->own_cpu_us - a->own_cpu_us) / 1e6);
    for (size_t i = 0; i < l->pid_count; i++) {
        printf("%s", i > 0 ? "," : "");
        if (a->cpu_us[i] == UINT64_MAX || b->cpu_us[i] == UINT64_MAX) /* ended before the window did */
            printf("null");
        else
            printf("%.3f", (double)(b->cpu_us[i] - a->cpu_us[i]) / 1e6);
    }
    printf("]}");
}

static void print_latency(const struct histogram *h) {
    printf(",\"latency_us\":{\"count\":%" PRIu64 ",\"mean\":%.0f,\"p50\":%" PRIu64 ",\"p99\":%" PRIu64
           ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "}",
           h->count, h->count > 0 ? (double)h->sum / (double)h->count : 0.0, histogram_quantile(h, 0.5),
           histogram_quantile(h, 0.99), histogram_quantile(h, 0.999), h->max);
}

/* How many clients were not whole. */
static int64_t report(const struct load *l) {
    const struct checker_tally *t = &l->crowd.tally;
    int64_t counts[CHECKER_FAULT_COUNT] = {0}, example = -1;
    int64_t broken = count_faults(l, counts, &example);
    printf("{\"clients\":%" PRId64 ",\"answered\":%" PRId64 ",\"whole\":%" PRId64 ",\"events\":%" PRIu64
           ",\"merged\":%" PRIu64 ",\"gaps\":%" PRIu64 ",\"dropped\":%" PRIu64 ",\"bytes\":%" PRIu64,
           l->crowd.opts.clients, l->crowd.answered, l->crowd.opts.clients - broken, t->events, t->merged, t->gaps,
           t->dropped, t->bytes);
    print_faults(l, counts, example);
    if (l->phase == PHASE_AFTER)
        print_window(l);
    print_latency(&l->latency);
    printf("}\n");
    return broken;
}

int main(int argc, char **argv) {
    struct crowd_options opts = {.host = "127.0.0.1", .path = "/", .clients = 100, .rate = 5000, .sources = 1};
    struct load *l = &load;
    bool merged = false;
    l->pids_text = "";
    l->measure = 1e6;
    l->deadline = 60;
    const struct bench_arg table[] = {
        {"host", BENCH_ARG_STRING, &opts.host, 0, 0, "numeric IPv4 address (127.0.0.1)"},
        {"port", BENCH_ARG_INT, &opts.port, 1, 65535, "TCP port"},
        {"path", BENCH_ARG_STRING, &opts.path, 0, 0, "of the stream (/)"},
        {"clients", BENCH_ARG_INT, &opts.clients, 1, 1000000, "how many (100)"},
        {"connect-rate", BENCH_ARG_INT, &opts.rate, 1, 1000000, "connections begun a second (5000)"},
        {"sources", BENCH_ARG_INT, &opts.sources, 1, 250, "loopback addresses to come from (1)"},
        {"merged", BENCH_ARG_FLAG, &merged, 0, 0, "one larger delta may stand for several positions"},
        {"hold", BENCH_ARG_FLAG, &l->hold, 0, 0, "keep the connections until standard input ends"},
        {"pids", BENCH_ARG_STRING, &l->pids_text, 0, 0, "processes whose processor time to measure: 12,34"},
        {"warmup", BENCH_ARG_REAL, &l->warmup, 0, 3600,
         "seconds not measured after the first delta (0: measure from the start)"},
        {"measure", BENCH_ARG_REAL, &l->measure, 0.001, 1e6, "seconds to measure (to the end)"},
        {"deadline", BENCH_ARG_REAL, &l->deadline, 0.1, 3600, "seconds after which all is ended (60)"},
        {NULL, BENCH_ARG_END, NULL, 0, 0, NULL}};
    bench_args_parse(table, argc, argv);
    if (opts.port == 0)
        bench_die("--port is needed (see --help)");
    parse_pids(l);
    if (bench_raise_files() < opts.clients + 16)
        bench_die("%" PRId64 " clients are more than the file limit allows", opts.clients);
    if (crowd_init(&l->crowd, &opts) != 0)
        bench_die("cannot start: %s", strerror(errno));
    l->crowd.tally.merged_ok = merged;
    l->began_us = meter_mono_us();
    run(l);
    int64_t broken = report(l);
    crowd_fini(&l->crowd);
    return broken == 0 ? 0 : 1;
}
