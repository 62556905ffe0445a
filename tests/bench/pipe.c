/* The bare pipeline: the least that can lead events from a writer through Redis to clients. `--write` appends what is
 * due every TICK_US, waits for Redis to have it, announces it: an announcement in the same breath would be told even
 * if the append was refused. Without, it is the relay between: it is subscribed to all announcements and send()s each,
 * as it came, to the one reader of its generation. Nothing is decoded, kept, fenced, repaired or resumed, and a reader
 * that does not take an event at once ends the program.
 *
 * The relay prints {"listen":"127.0.0.1:PORT"}, then {"asked":N} once all readers are there. One thread each. */
#include "args.h"
#include "herd.h"
#include "meter.h"
#include "tape.h"

#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CHANNEL "bare:"
#define TICK_US 250 /* as often as four workers, whose timers go by the millisecond */

struct pipe {
    redisContext *redis;
    const char *socket;
    int64_t clients, events;
    double rate, deadline;
    bool write;
};

static redisReply *next_reply(struct pipe *p) {
    void *reply;
    if (redisGetReply(p->redis, &reply) != REDIS_OK)
        bench_die("redis: %s", p->redis->errstr);
    if (((redisReply *)reply)->type == REDIS_REPLY_ERROR)
        bench_die("redis: %s", ((redisReply *)reply)->str);
    return reply;
}

/* ---- the relay */

static void on_accept(struct reader *r, int64_t index, void *arg) {
    static const struct tape nothing = {.end = TAPE_OPEN}; /* all that a reader gets comes from Redis */
    (void)index;
    (void)arg;
    r->tape = &nothing;
}

/* Announcements of a writer's end are the end of the body, too. */
static bool is_last(const redisReply *payload) {
    static const char end[] = "\r\n0\r\n\r\n";
    size_t n = sizeof end - 1;
    return payload->len >= n && memcmp(payload->str + payload->len - n, end, n) == 0;
}

static void relay_all(struct pipe *p, struct herd *h) {
    for (int64_t left = p->clients; left > 0;) {
        redisReply *reply = next_reply(p);
        if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 3 && reply->element[2]->type == REDIS_REPLY_STRING) {
            const redisReply *payload = reply->element[2];
            int fd = h->readers[strtol(reply->element[1]->str + strlen(CHANNEL), NULL, 10)].fd;
            if (send(fd, payload->str, payload->len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)payload->len)
                bench_die("a reader did not take an event at once");
            if (is_last(payload)) {
                shutdown(fd, SHUT_WR);
                left--;
            }
        }
        freeReplyObject(reply);
    }
}

static void relay(struct pipe *p) {
    struct herd herd;
    uint64_t limit = (uint64_t)(p->deadline * 1e6);
    if (bench_raise_files(p->clients + 16) < p->clients + 16)
        bench_die("%" PRId64 " clients are more than the file limit allows", p->clients);
    for (int64_t i = 0; i < p->clients; i++)
        if (redisAppendCommand(p->redis, "SUBSCRIBE " CHANNEL "%lld", (long long)i) != REDIS_OK)
            bench_die("no memory");
    for (int64_t i = 0; i < p->clients; i++)
        freeReplyObject(next_reply(p));
    printf("{\"listen\":\"127.0.0.1:%d\"}\n", herd_init(&herd, p->clients, false));
    fflush(stdout);
    herd.on_accept = on_accept;
    herd_serve_until(&herd, meter_mono_us() + limit, herd_all_ready);
    if (!herd_all_ready(&herd))
        bench_die("only %" PRId64 " of %" PRId64 " clients came", herd.ready, p->clients);
    printf("{\"asked\":%" PRId64 "}\n", p->clients);
    fflush(stdout);
    relay_all(p, &herd);
    herd_serve_until(&herd, meter_mono_us() + limit, herd_all_gone);
    herd_fini(&herd);
}

/* ---- the writer */

/* What was put on a tape since the last time is one event: for the log, then, once Redis has it, for its readers. */
static void append(struct pipe *p, const struct tape *t, int64_t generation) {
    if (redisAppendCommand(p->redis, "XADD bare:{%lld}:log * e %b", (long long)generation, t->data, t->len) != REDIS_OK)
        bench_die("no memory");
}

static void announce(struct pipe *p, struct tape *t, int64_t generation) {
    if (redisAppendCommand(p->redis, "PUBLISH " CHANNEL "%lld %b", (long long)generation, t->data, t->len) != REDIS_OK)
        bench_die("no memory");
    t->len = 0;
}

static void replies(struct pipe *p, int64_t count) {
    while (count-- > 0)
        freeReplyObject(next_reply(p));
}

/* The tapes of generations from `first` on, `count` in turn, hold an event each. */
static void tell(struct pipe *p, struct tape *tapes, int64_t first, int64_t count) {
    for (int64_t i = first; i < first + count; i++)
        append(p, &tapes[i % p->clients], i % p->clients);
    replies(p, count);
    for (int64_t i = first; i < first + count; i++)
        announce(p, &tapes[i % p->clients], i % p->clients);
    replies(p, count);
}

static void wait_until(uint64_t mono_us) {
    struct timespec at = {.tv_sec = (time_t)(mono_us / 1000000), .tv_nsec = (long)(mono_us % 1000000) * 1000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
}

static void write_all(struct pipe *p) {
    struct tape *tapes = calloc((size_t)p->clients, sizeof *tapes);
    if (tapes == NULL)
        bench_die("no memory");
    for (int64_t i = 0; i < p->clients; i++) {
        tape_init(&tapes[i], TAPE_none, " abcdef");
        tape_open(&tapes[i], meter_real_us());
        tape_start(&tapes[i], meter_real_us());
    }
    tell(p, tapes, 0, p->clients);
    int64_t said = 0, all = p->clients * p->events;
    for (uint64_t began = meter_mono_us(), tick = began; said < all; tick += TICK_US) {
        wait_until(tick);
        int64_t due = (int64_t)((double)(meter_mono_us() - began) / 1e6 * p->rate * (double)p->clients);
        int64_t count = due < all ? due - said : all - said;
        if (count > p->clients) /* an event of each at a time */
            count = p->clients;
        for (int64_t i = said; i < said + count; i++)
            tape_delta(&tapes[i % p->clients], meter_real_us(), i / p->clients + 1, 0);
        tell(p, tapes, said, count);
        said += count;
    }
    for (int64_t i = 0; i < p->clients; i++)
        tape_done(&tapes[i], meter_real_us());
    tell(p, tapes, 0, p->clients);
    for (int64_t i = 0; i < p->clients; i++)
        tape_fini(&tapes[i]);
    free(tapes);
}

int main(int argc, char **argv) {
    struct pipe p = {.clients = 100, .events = 100, .rate = 50, .deadline = 60};
    const struct bench_arg table[] = {
        {"socket", BENCH_ARG_STRING, &p.socket, 0, 0, "of Redis, a path"},
        {"write", BENCH_ARG_FLAG, &p.write, 0, 0, "be the writer, not the relay"},
        {"clients", BENCH_ARG_INT, &p.clients, 1, 1000000, "generations, each with one client (100)"},
        {"events", BENCH_ARG_INT, &p.events, 1, 10000000, "deltas of each (100)"},
        {"rate", BENCH_ARG_REAL, &p.rate, 0.001, 1e6, "events a second in each (50)"},
        {"deadline", BENCH_ARG_REAL, &p.deadline, 0.1, 3600, "seconds for connecting, and for the end (60)"},
        {NULL, BENCH_ARG_END, NULL, 0, 0, NULL}};
    bench_args_parse(table, argc, argv);
    if (p.socket == NULL)
        bench_die("--socket is missing");
    p.redis = redisConnectUnix(p.socket);
    if (p.redis == NULL || p.redis->err != 0)
        bench_die("redis: %s", p.redis == NULL ? "no memory" : p.redis->errstr);
    if (p.write)
        write_all(&p);
    else
        relay(&p);
    redisFree(p.redis);
    return 0;
}
