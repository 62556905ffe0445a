/* The clients' sockets under one epoll set, level-triggered, one read a readiness: behind, a client takes up to 64 KB
 * in one call. One thread. */
#include "crowd.h"

#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE      65536
#define MAX_CONNECTING 512 /* below the backlog of any sane listener */
#define MAX_EVENTS     512

int crowd_init(struct crowd *c, const struct crowd_options *opts) {
    *c = (struct crowd){.opts = *opts, .epoll = -1};
    c->to.sin_family = AF_INET;
    c->to.sin_port = htons((uint16_t)opts->port);
    if (inet_pton(AF_INET, opts->host, &c->to.sin_addr) != 1) {
        errno = EINVAL;
        return -1;
    }
    c->clients = calloc((size_t)opts->clients, sizeof(*c->clients));
    c->read_buffer = malloc(READ_SIZE);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (c->clients == NULL || c->read_buffer == NULL || c->epoll < 0) {
        int err = errno;
        crowd_fini(c);
        errno = err;
        return -1;
    }
    c->tally.merged_ok = c->stalled_tally.merged_ok = opts->merged_ok;
    c->tally.foreign = c->stalled_tally.foreign = opts->foreign;
    for (int64_t i = 0; i < opts->clients; i++) {
        struct client *cl = &c->clients[i];
        cl->staller = i * opts->stallers / opts->clients != (i + 1) * opts->stallers / opts->clients;
        checker_init(&cl->checker, cl->staller ? &c->stalled_tally : &c->tally);
        if (opts->after.seq > 0)
            checker_begin_after(&cl->checker, opts->after);
        cl->fd = -1;
    }
    return 0;
}

void crowd_fini(struct crowd *c) {
    for (int64_t i = 0; c->clients != NULL && i < c->opts.clients; i++) {
        if (c->clients[i].fd >= 0)
            close(c->clients[i].fd);
        checker_fini(&c->clients[i].checker);
    }
    free(c->clients);
    free(c->read_buffer);
    if (c->epoll >= 0)
        close(c->epoll);
    c->clients = NULL;
    c->read_buffer = NULL;
    c->epoll = -1;
}

static void client_disconnect(struct crowd *c, struct client *cl) {
    if (cl->connecting)
        c->connecting--;
    cl->connecting = false;
    close(cl->fd);
    cl->fd = -1;
}

static void client_end(struct crowd *c, struct client *cl) {
    client_disconnect(c, cl);
    c->ended++;
}

static bool send_request(struct crowd *c, struct client *cl) {
    char request[PATHS_MAX_LENGTH + 256], from[80] = "";
    const struct facts_position *last = &cl->checker.last;
    const char *path = c->opts.paths.items[(size_t)(cl - c->clients) % c->opts.paths.count];
    if (last->seq > 0)
        snprintf(from, sizeof(from), "Last-Event-ID: %" PRIu64 "-%" PRIu64 "\r\n", last->attempt, last->seq);
    int n = snprintf(request, sizeof(request),
                     "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n"
                     "%s\r\n",
                     path, c->opts.host, (int)ntohs(c->to.sin_port), from);
    /* Fits into any send buffer, so a short write is a fault. */
    return n > 0 && n < (int)sizeof(request) && send(cl->fd, request, (size_t)n, MSG_NOSIGNAL) == n;
}

/* The connection stands: asks for the stream. */
static void client_request(struct crowd *c, struct client *cl) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = cl};
    int err = 0;
    socklen_t len = sizeof(err);
    c->connecting--;
    cl->connecting = false;
    if (getsockopt(cl->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0 || !send_request(c, cl) ||
        epoll_ctl(c->epoll, EPOLL_CTL_MOD, cl->fd, &ev) != 0) {
        checker_fail(&cl->checker, CHECKER_connect);
        client_end(c, cl);
    }
}

static int bind_source(const struct crowd *c, int fd, int64_t i) {
    struct sockaddr_in from = {.sin_family = AF_INET};
    int one = 1;
    if (c->opts.sources < 2)
        return 0;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(i % c->opts.sources));
    /* The port is chosen at connect, per destination: binding alone would use up the range of the address. */
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)) != 0)
        return -1;
    return bind(fd, (const struct sockaddr *)&from, sizeof(from));
}

static void client_open(struct crowd *c, int64_t i) {
    struct client *cl = &c->clients[i];
    struct epoll_event ev = {.events = EPOLLOUT, .data.ptr = cl};
    cl->asked_us = meter_mono_us();
    cl->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (cl->fd < 0) {
        checker_fail(&cl->checker, CHECKER_connect);
        c->ended++;
        return;
    }
    c->connecting++;
    cl->connecting = true;
    if (bind_source(c, cl->fd, i) != 0 ||
        (connect(cl->fd, (const struct sockaddr *)&c->to, sizeof(c->to)) != 0 && errno != EINPROGRESS) ||
        epoll_ctl(c->epoll, EPOLL_CTL_ADD, cl->fd, &ev) != 0) {
        checker_fail(&cl->checker, CHECKER_connect);
        client_end(c, cl);
    }
}

/* What the bytes just judged say of the time it took. */
static void client_times(struct crowd *c, struct client *cl, bool was_answered, uint64_t was_seq) {
    const struct checker *ck = &cl->checker;
    uint64_t now = meter_mono_us();
    if (!was_answered && ck->body.status == 200) {
        c->answered++;
        histogram_add(&c->times.head, now - cl->asked_us);
    }
    if (was_seq < 3 && ck->last.seq >= 3)
        c->begun++;
    if (was_seq == 0 && ck->last.seq > 0)
        histogram_add(&c->times.first, now - cl->asked_us);
    if (cl->target > 0 && ck->last.seq >= cl->target) {
        histogram_add(&c->times.caught_up, now - c->resumed_us);
        cl->target = 0;
    }
}

static void client_over(struct crowd *c, struct client *cl) {
    if (c->opts.resume_port > 0 && c->resumed_us == 0 && !cl->checker.done && cl->checker.fault == CHECKER_none) {
        client_disconnect(c, cl);
        cl->lost = true;
        c->lost++;
        return;
    }
    checker_end(&cl->checker);
    if (cl->checker.fault == CHECKER_none)
        histogram_add(&c->times.whole, meter_mono_us() - cl->asked_us);
    client_end(c, cl);
}

static void client_read(struct crowd *c, struct client *cl) {
    struct checker *ck = &cl->checker;
    bool was_answered = ck->body.status == 200;
    uint64_t was_seq = ck->last.seq;
    ssize_t n = recv(cl->fd, c->read_buffer, READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        ck->tally->now_us = meter_real_us();
        checker_feed(ck, c->read_buffer, (size_t)n);
        if (!was_answered || was_seq < 3 || cl->target > 0)
            client_times(c, cl, was_answered, was_seq);
        if (ck->tally->foreign && ck->done) /* as a page closes an EventSource, which would come back */
            client_end(c, cl);
        return;
    }
    client_over(c, cl);
}

/* How many may have been begun by now, by the rate. */
static int64_t due(const struct crowd *c) {
    uint64_t elapsed = meter_mono_us() - (c->resumed_us > 0 ? c->resumed_us : c->began_us);
    int64_t n = (int64_t)(elapsed * (uint64_t)c->opts.rate / 1000000U) + 1;
    return n < c->opts.clients ? n : c->opts.clients;
}

static void open_due(struct crowd *c) {
    for (int64_t n = due(c); c->opened < n && c->connecting < MAX_CONNECTING; c->opened++) {
        struct client *cl = &c->clients[c->opened];
        if (c->resumed_us > 0 && !cl->lost)
            continue;
        c->lost -= cl->lost;
        cl->lost = false;
        client_open(c, c->opened);
    }
}

static void nap(int64_t us) {
    struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    nanosleep(&time, NULL); /* cut short by a signal it has done no harm */
}

int crowd_step(struct crowd *c, int timeout_ms) {
    struct epoll_event events[MAX_EVENTS];
    if (c->began_us == 0)
        c->began_us = meter_mono_us();
    if (c->opened < c->opts.clients) {
        open_due(c);
        timeout_ms = 1;
    }
    if (c->opts.nap_us > 0) {
        nap(c->opts.nap_us);
        timeout_ms = 0;
    }
    int n = epoll_wait(c->epoll, events, MAX_EVENTS, timeout_ms);
    if (n < 0)
        return errno == EINTR ? 0 : -1;
    for (int i = 0; i < n; i++) {
        struct client *cl = events[i].data.ptr;
        if (cl->connecting)
            client_request(c, cl);
        else
            client_read(c, cl);
    }
    return 0;
}

/* Taken out of the set, not merely asked for nothing: an error would be told for ever to somebody who does not look. */
void crowd_stall(struct crowd *c, bool stop) {
    for (int64_t i = 0; i < c->opts.clients; i++) {
        struct client *cl = &c->clients[i];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = cl};
        if (!cl->staller || cl->fd < 0 || cl->connecting || cl->stopped == stop)
            continue;
        cl->stopped = stop;
        if (epoll_ctl(c->epoll, stop ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, cl->fd, &ev) != 0) {
            checker_fail(&cl->checker, CHECKER_connect);
            client_end(c, cl);
        }
    }
}

void crowd_resume(struct crowd *c) {
    for (int64_t i = 0; i < c->opts.clients; i++) {
        struct client *cl = &c->clients[i];
        if (!cl->lost)
            continue;
        checker_resume(&cl->checker);
        cl->target = cl->checker.last.seq + (uint64_t)c->opts.resume_events;
    }
    c->to.sin_port = htons((uint16_t)c->opts.resume_port);
    c->opened = 0;
    c->resumed_us = meter_mono_us();
}

void crowd_close(struct crowd *c, enum checker_fault fault) {
    for (int64_t i = 0; i < c->opts.clients; i++) {
        struct client *cl = &c->clients[i];
        bool waits = cl->lost || (i >= c->opened && c->resumed_us == 0);
        if (cl->fd < 0 && !waits)
            continue;
        checker_fail(&cl->checker, fault);
        if (cl->fd >= 0)
            client_end(c, cl);
        else
            c->ended++;
        cl->lost = false;
    }
    c->lost = 0;
    c->opened = c->opts.clients;
}

bool crowd_ready(const struct crowd *c) {
    if (c->opened < c->opts.clients || c->connecting > 0)
        return false;
    for (int64_t i = 0; i < c->opts.clients; i++) {
        if (c->clients[i].fd >= 0 && c->clients[i].checker.body.status == 0)
            return false;
    }
    return true;
}

bool crowd_deserted(const struct crowd *c) {
    return c->lost > 0 && c->lost + c->ended == c->opts.clients;
}

bool crowd_over(const struct crowd *c) {
    return c->ended == c->opts.clients;
}
