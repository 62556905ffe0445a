/* What the publishing library costs by itself: N generations, each told a word at its turn of a steady rate, no model
 * server, no jobs. One loop, one thread, as in a worker. Prints {"said","entries","cpu_us","seconds"} of the measured
 * time, and ends once every log has its end. */
#include "args.h"
#include "meter.h"

#include "redis/redis.h"
#include "tokencast/publish.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

struct bench {
    uv_loop_t loop;
    struct tc_redis *redis;
    struct tc_publisher *publisher;
    struct tc_writer **writers;
    uv_timer_t tick;
    const char *url, *name;
    int64_t generations, warmup, measure; /* seconds */
    double rate;                          /* words a second in each */
    int64_t opened, closed, said;
    uint64_t began_us;
    bool measuring;
    struct {
        uint64_t at_us, cpu_us, entries;
        int64_t said;
    } first;
};

static void on_publisher_free(struct bench *b) {
    tc_publisher_destroy(b->publisher);
    tc_redis_close(b->redis, NULL, NULL);
}

static void on_closed(void *arg) {
    struct bench *b = arg;
    if (++b->closed == b->generations)
        on_publisher_free(b);
}

static void on_lost(void *arg, int err) {
    (void)arg;
    bench_die("a log was lost: %s", tc_strerror(err));
}

static uint64_t entries(const struct bench *b) {
    return tc_publisher_stats(b->publisher)->appends;
}

static void report(const struct bench *b) {
    uint64_t cpu = meter_own_cpu_us() - b->first.cpu_us;
    printf("{\"said\":%" PRId64 ",\"entries\":%" PRIu64 ",\"cpu_us\":%" PRIu64 ",\"seconds\":%.3f}\n",
           b->said - b->first.said, entries(b) - b->first.entries, cpu,
           (double)(meter_mono_us() - b->first.at_us) / 1e6);
    fflush(stdout);
}

static void finish(struct bench *b) {
    report(b);
    uv_close((uv_handle_t *)&b->tick, NULL);
    for (int64_t i = 0; i < b->generations; i++)
        if (tc_writer_finish(b->writers[i], "stop", (struct tc_str){0}) != 0)
            bench_die("a generation cannot be finished");
}

static void on_tick(uv_timer_t *tick) {
    struct bench *b = tick->data;
    uint64_t now = meter_mono_us() - b->began_us;
    int64_t due = (int64_t)((double)now / 1e6 * b->rate * (double)b->generations);
    for (; b->said < due; b->said++)
        if (tc_writer_text(b->writers[b->said % b->generations], TC_KIND_TEXT, 0, (struct tc_str){"abcdef ", 7}) != 0)
            bench_die("a word cannot be said");
    if (!b->measuring && now >= (uint64_t)b->warmup * 1000000) {
        b->measuring = true;
        b->first.at_us = b->began_us + now;
        b->first.cpu_us = meter_own_cpu_us();
        b->first.entries = entries(b);
        b->first.said = b->said;
    } else if (now >= (uint64_t)(b->warmup + b->measure) * 1000000) {
        finish(b);
    }
}

static void on_open(void *arg, int err, struct tc_position last, bool ended) {
    struct bench *b = arg;
    (void)last;
    if (err != 0 || ended)
        bench_die("a log cannot be opened: %s", ended ? "it has ended" : tc_strerror(err));
    if (++b->opened < b->generations)
        return;
    for (int64_t i = 0; i < b->generations; i++)
        if (tc_writer_start(b->writers[i], "publish", "publish") != 0)
            bench_die("a generation cannot be started");
    b->began_us = meter_mono_us();
    uv_timer_start(&b->tick, on_tick, 1, 1);
}

static void on_cancel(void *arg) {
    (void)arg;
}

/* The bound is there for a Redis that is away; here it would hide what cannot be carried. */
static void on_pressure(void *arg, bool stop) {
    (void)arg;
    if (stop)
        bench_die("Redis does not keep up: lower --rate");
}

static void on_finished(void *arg) {
    struct bench *b = arg;
    static int64_t finished;
    if (++finished < b->generations)
        return;
    for (int64_t i = 0; i < b->generations; i++)
        tc_writer_close(b->writers[i], on_closed, b);
}

static void open_all(struct bench *b) {
    static const struct tc_writer_callbacks callbacks = {.on_open = on_open,
                                                         .on_cancel = on_cancel,
                                                         .on_pressure = on_pressure,
                                                         .on_lost = on_lost,
                                                         .on_finished = on_finished};
    b->writers = calloc((size_t)b->generations, sizeof(struct tc_writer *));
    if (b->writers == NULL)
        bench_die("no memory");
    for (int64_t i = 0; i < b->generations; i++) {
        char id[64];
        (void)snprintf(id, sizeof id, "%.40s-%" PRId64, b->name, i);
        if (tc_writer_open(&b->writers[i], b->publisher, id, true, "publish", NULL, &callbacks, b) != 0)
            bench_die("a writer cannot be made");
    }
}

int main(int argc, char **argv) {
    static struct bench b = {.name = "publish", .generations = 1000, .rate = 50, .warmup = 1, .measure = 4};
    const struct bench_arg table[] = {
        {"redis", BENCH_ARG_STRING, &b.url, 0, 0, "where the logs go, a Redis URL"},
        {"name", BENCH_ARG_STRING, &b.name, 0, 0, "what the generations' ids begin with"},
        {"generations", BENCH_ARG_INT, &b.generations, 1, 100000, "how many"},
        {"rate", BENCH_ARG_REAL, &b.rate, 0.1, 10000, "words a second in each"},
        {"warmup", BENCH_ARG_INT, &b.warmup, 0, 600, "seconds before it is measured"},
        {"measure", BENCH_ARG_INT, &b.measure, 1, 600, "seconds that are"},
        {0},
    };
    bench_args_parse(table, argc, argv);
    if (b.url == NULL)
        bench_die("--redis is missing");
    struct tc_redis_options redis = {.url = b.url, .pubsub = true};
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&b.loop) != 0 || uv_timer_init(&b.loop, &b.tick) != 0 ||
        tc_redis_create(&b.redis, &b.loop, &redis) != 0 ||
        tc_publisher_create(&b.publisher, &b.loop, b.redis, &(struct tc_publisher_options){0}) != 0)
        bench_die("cannot begin");
    b.tick.data = &b;
    open_all(&b);
    uv_run(&b.loop, UV_RUN_DEFAULT);
    uv_loop_close(&b.loop);
    free(b.writers);
    return 0;
}
