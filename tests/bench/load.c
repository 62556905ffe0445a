/* The load generator: a crowd of SSE clients, each checked to the event. Prints one JSON line when all are answered
 * ({"ready":…}), at the window's beginning and end ({"window":…}), when all have lost their server ({"deserted":…}),
 * and one with the results at the end. Status 0: every client whole; 1: not; 2: could not run.
 *
 * Figures are taken over a window that begins `warmup` seconds after the first delta (0: with the program; --all-begun:
 * after the first delta of the last client): events
 * delivered, their latency, and the processor time of the processes named, between the same two moments. One thread. */
#include "args.h"
#include "crowd.h"
#include "meter.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum phase { PHASE_QUIET = 0, PHASE_WARMUP, PHASE_MEASURE, PHASE_AFTER };

struct load {
    struct crowd crowd;
    const char *pids_text;
    int64_t pids[REPORT_MAX_PIDS];
    double warmup, measure, deadline; /* seconds */
    double stall;                     /* seconds from the window's beginning that stallers do not read */
    bool hold;                        /* only keep the connections until standard input ends */
    bool all_begun;                   /* the warm-up waits for the first delta of every client */
    bool announced, told_deserted, told_caught_up, stalling;
    enum phase phase;
    uint64_t began_us, phase_us; /* monotonic */
    struct window window;
    struct histogram latency;
};

static struct load load; /* its histograms alone are 300 KB */

static void say(const char *what, int64_t n) {
    printf("{\"%s\":%" PRId64 "}\n", what, n);
    fflush(stdout);
}

static void parse_pids(struct load *l) {
    const char *p = l->pids_text;
    while (*p != '\0') {
        char *end = NULL;
        long pid = strtol(p, &end, 10);
        if (end == p || pid < 1 || l->window.pid_count == REPORT_MAX_PIDS || (*end != '\0' && *end != ','))
            bench_die("--pids: up to %d process ids with commas, not %s", REPORT_MAX_PIDS, l->pids_text);
        l->pids[l->window.pid_count++] = pid;
        p = *end == ',' ? end + 1 : end;
    }
}

static void take_sample(const struct load *l, struct sample *s) {
    for (size_t i = 0; i < l->window.pid_count; i++)
        s->cpu_us[i] = meter_cpu_us(l->pids[i], &s->user_us[i]);
    s->own_cpu_us = meter_own_cpu_us();
    s->mono_us = meter_mono_us();
    const struct checker_tally *t = &l->crowd.tally, *stalled = &l->crowd.stalled_tally;
    s->machine_cpu_us = meter_machine_cpu_us();
    s->events = t->events + stalled->events;
    s->merged = t->merged + stalled->merged;
    s->bytes = t->bytes + stalled->bytes;
}

static void stall(struct load *l, bool stop) {
    if (l->stalling != stop)
        crowd_stall(&l->crowd, stop);
    l->stalling = stop;
}

static void enter(struct load *l, enum phase phase, uint64_t now) {
    l->phase = phase;
    l->phase_us = now;
    if (phase == PHASE_MEASURE) {
        take_sample(l, &l->window.first);
        l->crowd.tally.latency = &l->latency;
        stall(l, l->stall > 0);
        say("window", 1);
        l->window.begun_us = l->phase_us - l->began_us;
    } else if (phase == PHASE_AFTER) {
        take_sample(l, &l->window.last);
        l->crowd.tally.latency = NULL;
        say("window", 0);
    }
}

static void advance(struct load *l, uint64_t now) {
    const struct crowd *c = &l->crowd;
    double in_phase = (double)(now - l->phase_us) / 1e6;
    if (l->stalling && (double)(now - l->window.first.mono_us) / 1e6 >= l->stall)
        stall(l, false);
    if (l->phase == PHASE_QUIET && (l->all_begun ? c->begun == c->opts.clients : c->begun > 0))
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
    say("ready", l->crowd.answered);
}

/* Standard input has ended (or holds something, which counts as well): whoever holds us has seen enough. */
static bool released(void) {
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&in, 1, 0) != 0;
}

/* The server of all has gone: they come back when whoever holds us says so. */
static void resume(struct load *l) {
    const struct crowd *c = &l->crowd;
    if (c->resumed_us > 0 && !l->told_caught_up &&
        c->times.caught_up.count + (uint64_t)c->ended >= (uint64_t)c->opts.clients) {
        l->told_caught_up = true;
        say("caught_up", (int64_t)c->times.caught_up.count);
    }
    if (c->resumed_us > 0 || !crowd_deserted(c))
        return;
    if (!l->told_deserted)
        say("deserted", l->crowd.lost);
    l->told_deserted = true;
    if (released())
        crowd_resume(&l->crowd);
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
        resume(l);
    }
    if (l->phase == PHASE_MEASURE)
        enter(l, PHASE_AFTER, now);
}

static void read_options(struct load *l, struct crowd_options *opts, int argc, char **argv) {
    const char *path = "/", *paths = "", *after = "";
    const struct bench_arg table[] = {
        {"host", BENCH_ARG_STRING, &opts->host, 0, 0, "numeric IPv4 address (127.0.0.1)"},
        {"port", BENCH_ARG_INT, &opts->port, 1, 65535, "TCP port"},
        {"path", BENCH_ARG_STRING, &path, 0, 0, "of the stream (/)"},
        {"paths", BENCH_ARG_STRING, &paths, 0, 0, "file with a path a line; client i reads the i-th, and round again"},
        {"after", BENCH_ARG_STRING, &after, 0, 0, "position after which the streams are asked for"},
        {"clients", BENCH_ARG_INT, &opts->clients, 1, 1000000, "how many (100)"},
        {"connect-rate", BENCH_ARG_INT, &opts->rate, 1, 1000000, "connections begun a second (5000)"},
        {"sources", BENCH_ARG_INT, &opts->sources, 1, 250, "loopback addresses to come from (1)"},
        {"nap-us", BENCH_ARG_INT, &opts->nap_us, 1, 100000,
         "look at the sockets so often, instead of being woken by the server's sends, at its cost"},
        {"merged", BENCH_ARG_FLAG, &opts->merged_ok, 0, 0, "one larger delta may stand for several positions"},
        {"foreign", BENCH_ARG_FLAG, &opts->foreign, 0, 0,
         "not our broker: positions are \"id\" in the data, and the client leaves after done"},
        {"hold", BENCH_ARG_FLAG, &l->hold, 0, 0, "keep the connections until standard input ends"},
        {"stall", BENCH_ARG_INT, &opts->stallers, 0, 1000000, "clients that stop reading (0)"},
        {"stall-seconds", BENCH_ARG_REAL, &l->stall, 0, 3600, "for how long, from the beginning of the window (10)"},
        {"resume-port", BENCH_ARG_INT, &opts->resume_port, 1, 65535,
         "where all go on at once when they have lost their server and standard input has ended"},
        {"resume-events", BENCH_ARG_INT, &opts->resume_events, 1, 1000000,
         "positions after which one that came back has caught up (1)"},
        {"pids", BENCH_ARG_STRING, &l->pids_text, 0, 0, "processes whose processor time to measure: 12,34"},
        {"warmup", BENCH_ARG_REAL, &l->warmup, 0, 3600,
         "seconds not measured after the first delta (0: measure from the start)"},
        {"all-begun", BENCH_ARG_FLAG, &l->all_begun, 0, 0, "the warm-up waits until every client has had a delta"},
        {"measure", BENCH_ARG_REAL, &l->measure, 0.001, 1e6, "seconds to measure (to the end)"},
        {"deadline", BENCH_ARG_REAL, &l->deadline, 0.1, 3600, "seconds after which all is ended (60)"},
        {NULL, BENCH_ARG_END, NULL, 0, 0, NULL}};
    bench_args_parse(table, argc, argv);
    if (opts->port == 0)
        bench_die("--port is needed (see --help)");
    if (opts->stallers > opts->clients)
        bench_die("--stall: there are only %" PRId64 " clients", opts->clients);
    if (l->hold && opts->resume_port > 0)
        bench_die("--hold and --resume-port both wait for the end of standard input");
    if (after[0] != '\0' && !facts_parse_position(after, strlen(after), &opts->after))
        bench_die("--after: %s is not a position", after);
    parse_pids(l);
    if (paths[0] != '\0')
        paths_read(&opts->paths, paths);
    else
        paths_one(&opts->paths, path);
}

int main(int argc, char **argv) {
    struct crowd_options opts = {.host = "127.0.0.1", .clients = 100, .rate = 5000, .sources = 1, .resume_events = 1};
    struct load *l = &load;
    l->pids_text = "";
    l->measure = 1e6;
    l->deadline = 60;
    l->stall = 10;
    read_options(l, &opts, argc, argv);
    if (opts.stallers == 0)
        l->stall = 0;
    if (bench_raise_files(opts.clients + 16) < opts.clients + 16)
        bench_die("%" PRId64 " clients are more than the file limit allows", opts.clients);
    if (crowd_init(&l->crowd, &opts) != 0)
        bench_die("cannot start: %s", strerror(errno));
    l->began_us = meter_mono_us();
    run(l);
    int64_t broken = report_print(&l->crowd, l->phase == PHASE_AFTER ? &l->window : NULL, &l->latency);
    crowd_fini(&l->crowd);
    paths_fini(&opts.paths);
    return broken == 0 ? 0 : 1;
}
