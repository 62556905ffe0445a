/* The baseline: the least a process can do to deliver a stream to N clients. It waits until all are connected, then
 * stamps one event at a time, in open loop, and send()s it to each: no Redis, no queue, no policy. What a broker costs
 * beyond this is what its features cost. With --each every client has a schedule of its own, spread over a period in
 * steps of a millisecond (those of one step share the bytes): the baseline of many generations with a client each.
 *
 * Prints {"listen":"127.0.0.1:PORT"} and at the end what it used. With --fault one client (the middle one) gets a tape
 * that is wrong in one place: the load generator must notice. One thread. */
#include "args.h"
#include "herd.h"
#include "meter.h"
#include "tape.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define MAX_SLOTS 1000 /* of a millisecond, for --each */

struct bare {
    struct herd herd;
    int64_t clients, events;
    int64_t skip; /* deltas that somebody else has sent already */
    double rate, deadline;
    const char *token, *fault_name;
    bool dribble, each, uring;
    int64_t slots;      /* schedules; 1 but for --each. Client i is in slot i modulo slots */
    struct tape *plain; /* owned, `slots` of them */
    struct tape broken;
    uint64_t cpu_us; /* of the loop that sends, without the connecting */
};

static void on_accept(struct reader *r, int64_t index, void *arg) {
    const struct bare *b = arg;
    bool victim = index == b->clients / 2;
    if (victim && b->dribble)
        r->step = 1;
    r->tape = victim && b->broken.data != NULL ? &b->broken : &b->plain[index % b->slots];
}

/* All tapes go through the same; only one of them has a fault. */
static void each_tape(struct bare *b, void (*make)(struct tape *t, uint64_t at), uint64_t at) {
    for (int64_t i = 0; i < b->slots; i++)
        make(&b->plain[i], at);
    if (b->broken.data != NULL)
        make(&b->broken, at);
}

/* Event `number` of one slot's clients. The broken tape is nobody's but the victim's, and goes with the first slot. */
static void play_slot(struct bare *b, int64_t slot, int64_t number, uint64_t at) {
    tape_delta(&b->plain[slot], at, number, b->events / 2);
    if (b->broken.data != NULL && slot == 0)
        tape_delta(&b->broken, at, number, b->events / 2);
    herd_send(&b->herd, slot, b->slots);
    herd_serve(&b->herd, 0);
}

/* Open loop: event i is due at start + i/rate and stamped so, however late the loop is. */
static void play(struct bare *b) {
    uint64_t mono = meter_mono_us() + 200000, real = meter_real_us() + 200000, cpu = meter_own_cpu_us();
    herd_serve_until(&b->herd, mono, NULL);
    if (b->skip == 0)
        each_tape(b, tape_start, real);
    for (int64_t i = b->skip * b->slots; i < b->events * b->slots && !herd_all_gone(&b->herd); i++) {
        uint64_t due = (uint64_t)((double)(i - b->skip * b->slots) / (double)b->slots / b->rate * 1e6);
        herd_serve_until(&b->herd, mono + due, herd_all_gone);
        play_slot(b, i % b->slots, i / b->slots + 1, real + due);
    }
    each_tape(b, tape_done, meter_real_us());
    herd_send(&b->herd, 0, 1);
    b->cpu_us = meter_own_cpu_us() - cpu;
}

static void report(const struct bare *b) {
    int64_t events = b->events * b->clients;
    printf("{\"clients\":%" PRId64 ",\"events\":%" PRId64 ",\"sends\":%" PRId64 ",\"blocked\":%" PRId64
           ",\"cpu\":%.3f,\"cpu_per_event_us\":%.3f}\n",
           b->clients, events, b->herd.sends, b->herd.blocks, (double)b->cpu_us / 1e6,
           (double)b->cpu_us / (double)events);
}

static void open_tape(const struct bare *b, struct tape *t, enum tape_fault fault) {
    tape_init(t, fault, b->token);
    if (b->skip > 0)
        tape_open_after(t, (uint64_t)b->skip);
    else
        tape_open(t, meter_real_us());
}

static void open_tapes(struct bare *b) {
    enum tape_fault fault = tape_fault_by_name(b->fault_name);
    if (fault == TAPE_FAULT_COUNT) {
        for (int f = 0; f < TAPE_FAULT_COUNT; f++)
            fprintf(stderr, "%-14s %s\n", tape_fault_name((enum tape_fault)f), tape_fault_text((enum tape_fault)f));
        bench_die("--fault: there is none called %s, but the above", b->fault_name);
    }
    if ((b->plain = calloc((size_t)b->slots, sizeof(*b->plain))) == NULL)
        bench_die("no memory");
    for (int64_t i = 0; i < b->slots; i++)
        open_tape(b, &b->plain[i], TAPE_none);
    if (fault != TAPE_none)
        open_tape(b, &b->broken, fault);
}

static int64_t count_slots(const struct bare *b) {
    double period_ms = 1000 / b->rate;
    int64_t slots = period_ms > MAX_SLOTS ? MAX_SLOTS : (int64_t)period_ms;
    if (slots > b->clients)
        slots = b->clients;
    return b->each && slots > 1 ? slots : 1;
}

int main(int argc, char **argv) {
    struct bare b = {
        .clients = 100, .events = 100, .rate = 50, .deadline = 60, .token = " abcdef", .fault_name = "none"};
    const struct bench_arg table[] = {
        {"clients", BENCH_ARG_INT, &b.clients, 1, 1000000, "to wait for and to serve (100)"},
        {"events", BENCH_ARG_INT, &b.events, 1, 10000000, "deltas to send to each (100)"},
        {"rate", BENCH_ARG_REAL, &b.rate, 0.001, 1e6, "events a second (50)"},
        {"skip", BENCH_ARG_INT, &b.skip, 0, 10000000, "the first events, which another server has sent (0)"},
        {"each", BENCH_ARG_FLAG, &b.each, 0, 0, "a schedule of its own for each client"},
        {"uring", BENCH_ARG_FLAG, &b.uring, 0, 0, "through io_uring instead of send()"},
        {"token", BENCH_ARG_STRING, &b.token, 0, 0, "text of a delta (\" abcdef\")"},
        {"fault", BENCH_ARG_STRING, &b.fault_name, 0, 0, "what one client's stream has wrong (none); ? lists them"},
        {"dribble", BENCH_ARG_FLAG, &b.dribble, 0, 0, "send to one client byte by byte"},
        {"deadline", BENCH_ARG_REAL, &b.deadline, 0.1, 3600, "seconds for connecting, and for the end (60)"},
        {NULL, BENCH_ARG_END, NULL, 0, 0, NULL}};
    bench_args_parse(table, argc, argv);
    if (bench_raise_files(b.clients + 16) < b.clients + 16)
        bench_die("%" PRId64 " clients are more than the file limit allows", b.clients);
    b.slots = count_slots(&b);
    open_tapes(&b);
    int port = herd_init(&b.herd, b.clients, b.uring);
    b.herd.on_accept = on_accept;
    b.herd.arg = &b;
    printf("{\"listen\":\"127.0.0.1:%d\"}\n", port);
    fflush(stdout);
    uint64_t limit = (uint64_t)(b.deadline * 1e6);
    herd_serve_until(&b.herd, meter_mono_us() + limit, herd_all_ready);
    if (!herd_all_ready(&b.herd))
        bench_die("only %" PRId64 " of %" PRId64 " clients came", b.herd.ready, b.clients);
    play(&b);
    herd_serve_until(&b.herd, meter_mono_us() + limit, herd_all_gone);
    report(&b);
    herd_fini(&b.herd);
    for (int64_t i = 0; i < b.slots; i++)
        tape_fini(&b.plain[i]);
    free(b.plain);
    tape_fini(&b.broken);
    return 0;
}
