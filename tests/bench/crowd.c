/* The clients' sockets under one epoll set, level-triggered, one read a readiness: behind, a client takes up to 64 KB
 * in one call. One thread. */
#include "crowd.h"

#include "meter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE      65536
#define MAX_CONNECTING 512 /* below the backlog of any sane listener */
#define MAX_EVENTS     512

static int make_request(struct crowd *c) {
    c->request_len = 0;
    FILE *f = open_memstream(&c->request, &c->request_len);
    if (f == NULL)
        return -1;
    fprintf(f, "GET %s HTTP/1.1\r\nHost: %s:%d\r\nAccept: text/event-stream\r\nCache-Control: no-cache\r\n\r\n",
            c->opts.path, c->opts.host, (int)c->opts.port);
    return fclose(f) == 0 ? 0 : -1;
}

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
    if (c->clients == NULL || c->read_buffer == NULL || c->epoll < 0 || make_request(c) != 0) {
        int err = errno;
        crowd_fini(c);
        errno = err;
        return -1;
    }
    for (int64_t i = 0; i < opts->clients; i++) {
        checker_init(&c->clients[i].checker, &c->tally);
        c->clients[i].fd = -1;
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
    free(c->request);
    if (c->epoll >= 0)
        close(c->epoll);
    c->clients = NULL;
    c->read_buffer = c->request = NULL;
    c->epoll = -1;
}

static void client_end(struct crowd *c, struct client *cl) {
    if (cl->connecting)
        c->connecting--;
    cl->connecting = false;
    close(cl->fd);
    cl->fd = -1;
    c->ended++;
}

/* The connection stands: asks for the stream. Fits into any send buffer, so a short write is a fault. */
static void client_request(struct crowd *c, struct client *cl) {
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = cl};
    int err = 0;
    socklen_t len = sizeof(err);
    c->connecting--;
    cl->connecting = false;
    if (getsockopt(cl->fd, SOL_SOCKET, SO_ERROR, &err, &len) != 0 || err != 0 ||
        send(cl->fd, c->request, c->request_len, MSG_NOSIGNAL) != (ssize_t)c->request_len ||
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
    c->opened++;
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

static void client_read(struct crowd *c, struct client *cl) {
    struct checker *ck = &cl->checker;
    bool was_answered = ck->body.status == 200;
    ssize_t n = recv(cl->fd, c->read_buffer, READ_SIZE, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0) {
        c->tally.now_us = meter_real_us();
        checker_feed(ck, c->read_buffer, (size_t)n);
        if (!was_answered && ck->body.status == 200)
            c->answered++;
        return;
    }
    checker_end(ck);
    client_end(c, cl);
}

/* How many more may be begun now by the rate. */
static int64_t due(const struct crowd *c) {
    uint64_t elapsed = meter_mono_us() - c->began_us;
    int64_t n = (int64_t)(elapsed * (uint64_t)c->opts.rate / 1000000U) + 1;
    return n < c->opts.clients ? n : c->opts.clients;
}

int crowd_step(struct crowd *c, int timeout_ms) {
    struct epoll_event events[MAX_EVENTS];
    if (c->began_us == 0)
        c->began_us = meter_mono_us();
    if (c->opened < c->opts.clients) {
        for (int64_t n = due(c); c->opened < n && c->connecting < MAX_CONNECTING;)
            client_open(c, c->opened);
        timeout_ms = 1;
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

void crowd_close(struct crowd *c, enum checker_fault fault) {
    for (int64_t i = 0; i < c->opts.clients; i++) {
        struct client *cl = &c->clients[i];
        if (cl->fd < 0 && i < c->opened)
            continue;
        checker_fail(&cl->checker, fault);
        if (cl->fd >= 0)
            client_end(c, cl);
        else
            c->ended++;
    }
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

bool crowd_over(const struct crowd *c) {
    return c->ended == c->opts.clients;
}
