/* The baseline: the least a process can do to deliver a stream to N clients. It waits until all are connected, then
 * stamps one event at a time, in open loop, and send()s it to each: no Redis, no queue, no policy. What a broker costs
 * beyond this is what its features cost.
 *
 * Prints {"listen":"127.0.0.1:PORT"} and at the end what it used. With --fault one client (the middle one) gets a tape
 * that is wrong in one place: the load generator must notice. One thread. */
#include "args.h"
#include "meter.h"
#include "tape.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_EVENTS 512

struct reader {
    int fd;           /* -1 before it came and after it went */
    bool asked;       /* its request is in; the request's bytes are of no interest but for its end */
    bool blocked;     /* waits for room in its socket */
    unsigned matched; /* bytes of CR LF CR LF seen */
    size_t sent;      /* bytes of its tape */
    size_t step;      /* bytes a send(): SIZE_MAX but for the victim under --dribble */
    const struct tape *tape;
};

struct bare {
    int64_t clients, events;
    double rate, deadline;
    const char *token, *fault_name;
    bool dribble;
    int listener, epoll;
    struct reader *readers; /* owned */
    struct tape plain, broken;
    int64_t came, ready, gone, sends, blocks;
    uint64_t cpu_us; /* of the loop that sends, without the connecting */
};

static void reader_close(struct bare *b, struct reader *r, bool reset) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (r->fd < 0)
        return;
    if (reset)
        setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(r->fd);
    r->fd = -1;
    b->gone++;
}

static void want(struct bare *b, struct reader *r, uint32_t events) {
    struct epoll_event ev = {.events = events, .data.ptr = r};
    if (epoll_ctl(b->epoll, EPOLL_CTL_MOD, r->fd, &ev) != 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

/* Sends what is left of the tape: one event as a rule, more after having been blocked. */
static void reader_send(struct bare *b, struct reader *r) {
    while (r->fd >= 0 && r->sent < r->tape->len) {
        size_t left = r->tape->len - r->sent;
        ssize_t n = send(r->fd, r->tape->data + r->sent, left < r->step ? left : r->step, MSG_NOSIGNAL | MSG_DONTWAIT);
        b->sends++;
        if (n >= 0) {
            r->sent += (size_t)n;
            continue;
        }
        if (errno != EAGAIN) {
            reader_close(b, r, false);
        } else if (!r->blocked) {
            r->blocked = true;
            b->blocks++;
            want(b, r, EPOLLIN | EPOLLOUT);
        }
        return;
    }
    if (r->fd >= 0 && (r->tape->end == TAPE_CLOSE || r->tape->end == TAPE_RESET))
        reader_close(b, r, r->tape->end == TAPE_RESET);
}

static void reader_ask(struct bare *b, struct reader *r) {
    r->asked = true;
    b->ready++;
    reader_send(b, r);
}

static void reader_read(struct bare *b, struct reader *r) {
    char buffer[4096];
    ssize_t n = recv(r->fd, buffer, sizeof(buffer), 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            reader_close(b, r, false);
        return;
    }
    for (ssize_t i = 0; i < n && !r->asked; i++) {
        r->matched = buffer[i] == "\r\n\r\n"[r->matched] ? r->matched + 1 : buffer[i] == '\r' ? 1 : 0;
        if (r->matched == 4)
            reader_ask(b, r);
    }
}

static void accept_some(struct bare *b) {
    int one = 1, fd;
    while (b->came < b->clients && (fd = accept4(b->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct reader *r = &b->readers[b->came];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = r};
        bool victim = b->came == b->clients / 2;
        *r = (struct reader){.fd = fd, .step = victim && b->dribble ? 1 : SIZE_MAX};
        r->tape = victim && b->broken.data != NULL ? &b->broken : &b->plain;
        b->came++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (epoll_ctl(b->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
            bench_die("epoll_ctl: %s", strerror(errno));
    }
}

static void serve(struct bare *b, int timeout_ms) {
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(b->epoll, events, MAX_EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct reader *r = events[i].data.ptr;
        if (r == NULL) {
            accept_some(b);
            continue;
        }
        if (r->fd >= 0 && (events[i].events & EPOLLOUT) != 0) {
            r->blocked = false;
            want(b, r, EPOLLIN);
            reader_send(b, r);
        }
        if (r->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            reader_read(b, r);
    }
}

/* Until `until`, or sooner when `enough` says so. */
static void serve_until(struct bare *b, uint64_t until, bool (*enough)(const struct bare *b)) {
    uint64_t now = meter_mono_us();
    while (now < until && (enough == NULL || !enough(b))) {
        serve(b, (int)((until - now + 999) / 1000));
        now = meter_mono_us();
    }
}

static bool all_ready(const struct bare *b) {
    return b->ready == b->clients;
}

static bool all_gone(const struct bare *b) {
    return b->gone == b->clients;
}

static void send_all(struct bare *b) {
    for (int64_t i = 0; i < b->clients; i++) {
        struct reader *r = &b->readers[i];
        if (r->fd >= 0 && !r->blocked)
            reader_send(b, r);
    }
}

/* Both tapes go through the same; only one of them has a fault. */
static void each_tape(struct bare *b, void (*make)(struct tape *t, uint64_t at), uint64_t at) {
    make(&b->plain, at);
    if (b->broken.data != NULL)
        make(&b->broken, at);
}

/* Open loop: event i is due at start + i/rate and stamped so, however late the loop is. */
static void play(struct bare *b) {
    uint64_t mono = meter_mono_us() + 200000, real = meter_real_us() + 200000, cpu = meter_own_cpu_us();
    serve_until(b, mono, NULL);
    each_tape(b, tape_start, real);
    for (int64_t i = 1; i <= b->events && !all_gone(b); i++) {
        uint64_t due = (uint64_t)((double)(i - 1) / b->rate * 1e6);
        serve_until(b, mono + due, all_gone);
        tape_delta(&b->plain, real + due, i, b->events / 2);
        if (b->broken.data != NULL)
            tape_delta(&b->broken, real + due, i, b->events / 2);
        send_all(b);
        serve(b, 0);
    }
    each_tape(b, tape_done, meter_real_us());
    send_all(b);
    b->cpu_us = meter_own_cpu_us() - cpu;
}

static int listen_any(struct bare *b) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    socklen_t len = sizeof(at);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    b->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    b->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (b->listener < 0 || b->epoll < 0 || bind(b->listener, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(b->listener, 4096) != 0 || getsockname(b->listener, (struct sockaddr *)&at, &len) != 0 ||
        epoll_ctl(b->epoll, EPOLL_CTL_ADD, b->listener, &ev) != 0)
        bench_die("cannot listen: %s", strerror(errno));
    return ntohs(at.sin_port);
}

static void report(const struct bare *b) {
    int64_t events = b->events * b->clients;
    printf("{\"clients\":%" PRId64 ",\"events\":%" PRId64 ",\"sends\":%" PRId64 ",\"blocked\":%" PRId64
           ",\"cpu\":%.3f,\"cpu_per_event_us\":%.3f}\n",
           b->clients, events, b->sends, b->blocks, (double)b->cpu_us / 1e6, (double)b->cpu_us / (double)events);
}

static void open_tapes(struct bare *b) {
    enum tape_fault fault = tape_fault_by_name(b->fault_name);
    if (fault == TAPE_FAULT_COUNT) {
        for (int f = 0; f < TAPE_FAULT_COUNT; f++)
            fprintf(stderr, "%-14s %s\n", tape_fault_name((enum tape_fault)f), tape_fault_text((enum tape_fault)f));
        bench_die("--fault: there is none called %s, but the above", b->fault_name);
    }
    tape_init(&b->plain, TAPE_none, b->token);
    tape_open(&b->plain, meter_real_us());
    if (fault == TAPE_none)
        return;
    tape_init(&b->broken, fault, b->token);
    tape_open(&b->broken, meter_real_us());
}

int main(int argc, char **argv) {
    struct bare b = {
        .clients = 100, .events = 100, .rate = 50, .deadline = 60, .token = " abcdef", .fault_name = "none"};
    const struct bench_arg table[] = {
        {"clients", BENCH_ARG_INT, &b.clients, 1, 1000000, "to wait for and to serve (100)"},
        {"events", BENCH_ARG_INT, &b.events, 1, 10000000, "deltas to send to each (100)"},
        {"rate", BENCH_ARG_REAL, &b.rate, 0.001, 1e6, "events a second (50)"},
        {"token", BENCH_ARG_STRING, &b.token, 0, 0, "text of a delta (\" abcdef\")"},
        {"fault", BENCH_ARG_STRING, &b.fault_name, 0, 0, "what one client's stream has wrong (none); ? lists them"},
        {"dribble", BENCH_ARG_FLAG, &b.dribble, 0, 0, "send to one client byte by byte"},
        {"deadline", BENCH_ARG_REAL, &b.deadline, 0.1, 3600, "seconds for connecting, and for the end (60)"},
        {NULL, BENCH_ARG_END, NULL, 0, 0, NULL}};
    bench_args_parse(table, argc, argv);
    if (bench_raise_files(b.clients + 16) < b.clients + 16)
        bench_die("%" PRId64 " clients are more than the file limit allows", b.clients);
    if ((b.readers = calloc((size_t)b.clients, sizeof(*b.readers))) == NULL)
        bench_die("no memory");
    for (int64_t i = 0; i < b.clients; i++)
        b.readers[i].fd = -1;
    open_tapes(&b);
    printf("{\"listen\":\"127.0.0.1:%d\"}\n", listen_any(&b));
    fflush(stdout);
    uint64_t limit = (uint64_t)(b.deadline * 1e6);
    serve_until(&b, meter_mono_us() + limit, all_ready);
    if (!all_ready(&b))
        bench_die("only %" PRId64 " of %" PRId64 " clients came", b.ready, b.clients);
    play(&b);
    serve_until(&b, meter_mono_us() + limit, all_gone);
    report(&b);
    for (int64_t i = 0; i < b.clients; i++)
        reader_close(&b, &b.readers[i], false);
    free(b.readers);
    tape_fini(&b.plain);
    tape_fini(&b.broken);
    close(b.listener);
    close(b.epoll);
    return 0;
}
