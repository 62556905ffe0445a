/* Accepting connections on one loop. Each loop binds its own socket with SO_REUSEPORT and the kernel spreads the peers;
 * the backlog is the kernel's limit, since a queue of 128 loses handshakes for seconds when thousands come at once.
 *
 * Out of descriptors, accept4() fails while the socket stays readable: accepting then rests for PAUSE_MS. Before that
 * the last KEEP_FDS are reached: who gets one of them is handed over to be told so, a few between two rests. */
#define _GNU_SOURCE /* accept4() */
#include "http/listener.h"

#include "base/option.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <tokencast/error.h>
#include <unistd.h>

#define PAUSE_MS         100
#define KEEP_FDS         32 /* at most a quarter of all */
#define SCARCE_MAX       16
#define ACCEPTS_PER_WAKE 256 /* then the loop serves others; the rest waits in the backlog */

static int backlog(void) {
    char text[16] = "";
    FILE *f = fopen("/proc/sys/net/core/somaxconn", "re");
    if (f == NULL)
        return SOMAXCONN;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    (void)fclose(f);
    text[n] = '\0';
    long v = strtol(text, NULL, 10);
    return v > 0 && v <= 1 << 20 ? (int)v : SOMAXCONN;
}

static int open_socket(const struct addrinfo *ai, bool reuse_port) {
    const int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return TC_EIO;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
        goto err_after_socket;
    if (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0)
        goto err_after_socket;
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, backlog()) != 0)
        goto err_after_socket;
    return fd;

err_after_socket:
    (void)close(fd);
    return TC_ECONNECT;
}

/* Resolving may block: at startup only. */
static int open_address(const char *address, bool reuse_port) {
    char host[256], service[16];
    int port = 0;
    int rc = tc_address_split(address, host, sizeof(host), &port);
    if (rc < 0)
        return rc;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    (void)snprintf(service, sizeof(service), "%d", port);
    if (getaddrinfo(host[0] ? host : NULL, service, &hints, &list) != 0)
        return TC_EINVAL;
    rc = TC_ECONNECT;
    for (const struct addrinfo *ai = list; ai && rc < 0; ai = ai->ai_next)
        rc = open_socket(ai, reuse_port);
    freeaddrinfo(list);
    return rc;
}

static int bound_port(int fd) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u = {.in6 = {0}};
    socklen_t len = sizeof(u);
    if (getsockname(fd, &u.any, &len) != 0)
        return 0;
    return ntohs(u.any.sa_family == AF_INET6 ? u.in6.sin6_port : u.in.sin_port);
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer) {
    struct listener *l = timer->data;
    l->scarce = 0;
    if (l->fd >= 0)
        (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

static void rest(struct listener *l) {
    l->events->on_pause(l->arg);
    if (l->fd < 0)
        return;
    (void)uv_poll_stop(&l->poll);
    (void)uv_timer_start(&l->pause, on_pause_over, PAUSE_MS, 0);
}

/* One connection; false when there is none, or none can be had now. */
static bool accept_one(struct listener *l) {
    struct sockaddr_storage peer = {0};
    socklen_t len = sizeof(peer);
    int fd = accept4(l->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= l->fd_limit) {
        l->events->on_scarce(l->arg, fd);
        if (++l->scarce < SCARCE_MAX)
            return l->fd >= 0;
        rest(l);
        return false;
    }
    if (fd >= 0) {
        l->events->on_accept(l->arg, fd, (const struct sockaddr *)&peer);
        return l->fd >= 0;
    }
    switch (errno) {
    case EAGAIN:
#if EWOULDBLOCK != EAGAIN
    case EWOULDBLOCK:
#endif
        return false;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        rest(l);
        return false;
    default: /* that connection died in the backlog (accept(2) lists the network errors); the next may live */
        return true;
    }
}

static void on_readable(uv_poll_t *poll, int status, int events) {
    struct listener *l = poll->data;
    (void)events;
    if (l->fd < 0)
        return;
    if (status < 0) { /* libuv has stopped the poll; a listening socket has no lasting errors */
        rest(l);
        return;
    }
    for (int i = 0; i < ACCEPTS_PER_WAKE; i++)
        if (!accept_one(l))
            return;
}

static int descriptors_for_clients(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    int all = (int)limit.rlim_cur;
    return all - (all / 4 < KEEP_FDS ? all / 4 : KEEP_FDS);
}

int listener_start(struct listener *l, uv_loop_t *loop, const char *address, bool reuse_port,
                   const struct listener_events *events, void *arg) {
    *l = (struct listener){.fd = -1, .events = events, .arg = arg};
    int fd = open_address(address, reuse_port);
    if (fd < 0)
        return fd;
    if (uv_poll_init(loop, &l->poll, fd) != 0) {
        (void)close(fd);
        return TC_EIO;
    }
    (void)uv_timer_init(loop, &l->pause);
    l->poll.data = l->pause.data = l;
    l->handles = 2;
    l->fd = fd;
    l->port = bound_port(fd);
    l->fd_limit = descriptors_for_clients();
    (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct listener *l = handle->data;
    if (--l->handles == 0)
        l->events->on_closed(l->arg);
}

void listener_close(struct listener *l) {
    if (l->fd < 0)
        return;
    int fd = l->fd;
    l->fd = -1;
    uv_close((uv_handle_t *)&l->poll, on_handle_closed);
    uv_close((uv_handle_t *)&l->pause, on_handle_closed);
    (void)close(fd); /* allowed once the poll is closing (libuv, uv_poll_t) */
}
