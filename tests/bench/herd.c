/* Readers under one epoll set. A blocked one waits for room and is then brought up in one send(). One thread. */
#include "herd.h"

#include "args.h"
#include "meter.h"
#include "ring.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_EVENTS 512

static void reader_close(struct herd *h, struct reader *r, bool reset) {
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    if (r->fd < 0)
        return;
    if (reset)
        setsockopt(r->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    close(r->fd);
    r->fd = -1;
    h->gone++;
}

static void want(struct herd *h, struct reader *r, uint32_t events) {
    struct epoll_event ev = {.events = events, .data.ptr = r};
    if (epoll_ctl(h->epoll, EPOLL_CTL_MOD, r->fd, &ev) != 0)
        bench_die("epoll_ctl: %s", strerror(errno));
}

static void reader_block(struct herd *h, struct reader *r) {
    if (r->blocked)
        return;
    r->blocked = true;
    h->blocks++;
    want(h, r, EPOLLIN | EPOLLOUT);
}

static void reader_end(struct herd *h, struct reader *r) {
    if (r->fd >= 0 && r->sent == r->tape->len && (r->tape->end == TAPE_CLOSE || r->tape->end == TAPE_RESET))
        reader_close(h, r, r->tape->end == TAPE_RESET);
}

/* Sends what is left of the tape: one event as a rule, more after having been blocked. */
static void reader_send(struct herd *h, struct reader *r) {
    while (r->fd >= 0 && r->sent < r->tape->len) {
        size_t left = r->tape->len - r->sent;
        ssize_t n = send(r->fd, r->tape->data + r->sent, left < r->step ? left : r->step, MSG_NOSIGNAL | MSG_DONTWAIT);
        h->sends++;
        if (n >= 0) {
            r->sent += (size_t)n;
        } else if (errno == EAGAIN) {
            reader_block(h, r);
            return;
        } else {
            reader_close(h, r, false);
        }
    }
    reader_end(h, r);
}

void herd_sent(struct herd *h, struct reader *r, int n) {
    if (r->fd < 0)
        return;
    if (n < 0 && n != -EAGAIN) {
        reader_close(h, r, false);
        return;
    }
    r->sent = r->base + (n > 0 ? (size_t)n : 0);
    if (r->sent < r->tape->len)
        reader_block(h, r);
}

static void send_by_ring(struct herd *h, int64_t first, int64_t stride) {
    for (int64_t i = first; i < h->came; i += stride) {
        struct reader *r = &h->readers[i];
        if (r->fd < 0 || r->blocked || r->sent == r->tape->len)
            continue;
        ring_send(h->ring, h, r);
        h->sends++;
    }
    ring_flush(h->ring, h);
}

void herd_send(struct herd *h, int64_t first, int64_t stride) {
    if (h->ring != NULL)
        send_by_ring(h, first, stride);
    for (int64_t i = first; i < h->came; i += stride) {
        struct reader *r = &h->readers[i];
        if (h->ring != NULL)
            reader_end(h, r);
        else if (r->fd >= 0 && !r->blocked)
            reader_send(h, r);
    }
}

static void reader_ask(struct herd *h, struct reader *r) {
    r->asked = true;
    h->ready++;
    reader_send(h, r);
}

static void reader_read(struct herd *h, struct reader *r) {
    char buffer[4096];
    ssize_t n = recv(r->fd, buffer, sizeof(buffer), 0);
    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR))
            reader_close(h, r, false);
        return;
    }
    for (ssize_t i = 0; i < n && !r->asked; i++) {
        r->matched = buffer[i] == "\r\n\r\n"[r->matched] ? r->matched + 1 : buffer[i] == '\r' ? 1 : 0;
        if (r->matched == 4)
            reader_ask(h, r);
    }
}

static void accept_some(struct herd *h) {
    int one = 1, fd;
    while (h->came < h->count && (fd = accept4(h->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct reader *r = &h->readers[h->came];
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = r};
        *r = (struct reader){.fd = fd, .step = SIZE_MAX};
        h->on_accept(r, h->came, h->arg);
        h->came++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        if (epoll_ctl(h->epoll, EPOLL_CTL_ADD, fd, &ev) != 0)
            bench_die("epoll_ctl: %s", strerror(errno));
    }
}

void herd_serve(struct herd *h, int timeout_ms) {
    struct epoll_event events[MAX_EVENTS];
    int n = epoll_wait(h->epoll, events, MAX_EVENTS, timeout_ms);
    for (int i = 0; i < n; i++) {
        struct reader *r = events[i].data.ptr;
        if (r == NULL) {
            accept_some(h);
            continue;
        }
        if (r->fd >= 0 && (events[i].events & EPOLLOUT) != 0) {
            r->blocked = false;
            want(h, r, EPOLLIN);
            reader_send(h, r);
        }
        if (r->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            reader_read(h, r);
    }
}

void herd_serve_until(struct herd *h, uint64_t until, bool (*enough)(const struct herd *h)) {
    uint64_t now = meter_mono_us();
    while (now < until && (enough == NULL || !enough(h))) {
        herd_serve(h, (int)((until - now + 999) / 1000));
        now = meter_mono_us();
    }
}

bool herd_all_ready(const struct herd *h) {
    return h->ready == h->count;
}

bool herd_all_gone(const struct herd *h) {
    return h->gone == h->count;
}

int herd_init(struct herd *h, int64_t count, bool uring) {
    struct sockaddr_in at = {.sin_family = AF_INET};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};
    socklen_t len = sizeof(at);
    *h = (struct herd){.count = count};
    if ((h->readers = calloc((size_t)count, sizeof(*h->readers))) == NULL)
        bench_die("no memory");
    for (int64_t i = 0; i < count; i++)
        h->readers[i].fd = -1;
    h->ring = uring ? ring_create() : NULL;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    h->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    h->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (h->listener < 0 || h->epoll < 0 || bind(h->listener, (const struct sockaddr *)&at, sizeof(at)) != 0 ||
        listen(h->listener, 4096) != 0 || getsockname(h->listener, (struct sockaddr *)&at, &len) != 0 ||
        epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->listener, &ev) != 0)
        bench_die("cannot listen: %s", strerror(errno));
    return ntohs(at.sin_port);
}

void herd_fini(struct herd *h) {
    for (int64_t i = 0; i < h->count; i++)
        reader_close(h, &h->readers[i], false);
    free(h->readers);
    ring_destroy(h->ring);
    close(h->listener);
    close(h->epoll);
}
