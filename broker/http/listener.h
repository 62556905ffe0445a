/* A listening socket of our own under uv_poll_t: bounded accepting per wake-up, and a pause instead of a spin when the
 * process has no descriptors left. Loop thread; embedded in its owner. */
#ifndef BROKER_HTTP_LISTENER_H
#define BROKER_HTTP_LISTENER_H

#include "base/attr.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

struct listener_events {
    void (*on_accept)(void *arg, int fd, const struct sockaddr *peer); /* takes fd, non-blocking; may close us */
    void (*on_scarce)(void *arg, int fd);                              /* takes fd: one of the last to be had */
    void (*on_pause)(void *arg);                                       /* descriptors or kernel memory ran out */
    void (*on_closed)(void *arg);                                      /* the memory is the owner's again */
};

struct listener {
    uv_poll_t poll;   /* on fd */
    uv_timer_t pause; /* runs while accepting is paused */
    int fd;           /* owned; -1 once closing */
    int port;         /* in host order */
    int fd_limit;     /* descriptors from this number on are kept for other uses */
    unsigned scarce;  /* of them, accepted since the last pause */
    unsigned handles; /* of the two above, not yet closed */
    const struct listener_events *events;
    void *arg; /* of events */
};

/* HOST:PORT, [v6]:PORT or PORT. TC_EINVAL, TC_ECONNECT (cannot bind), TC_EIO. On failure nothing was scheduled. */
TC_MUST_USE int listener_start(struct listener *l, uv_loop_t *loop, const char *address, bool reuse_port,
                               const struct listener_events *events, void *arg);
/* Stops accepting at once; idempotent; ends in on_closed. */
void listener_close(struct listener *l);

#endif
