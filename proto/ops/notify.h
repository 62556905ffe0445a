/* What the supervisor that started this process is told, as sd_notify(3) has it: READY=1, STATUS=, STOPPING=1 and
 * WATCHDOG=1 as datagrams to the Unix socket that NOTIFY_SOCKET names. Without a supervisor every call does nothing.
 * What its queue has no room for is said again with the next tick. Loop thread; caller's memory. */
#ifndef TC_OPS_NOTIFY_H
#define TC_OPS_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <uv.h>

struct tc_notify {
    int fd; /* -1: nobody is told */
    struct sockaddr_un to;
    socklen_t to_len;
    uint64_t tick_ms;
    bool watched; /* the supervisor waits for tc_notify_alive() */
    unsigned due; /* bits of what is to be said */
    char status[128];
    uint64_t within_ms; /* of tc_notify_stopping() */
    uv_timer_t tick;
    void (*on_tick)(void *arg);
    void *arg;
};

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child speaks for us: before
 * any thread starts. With a supervisor on_tick is called at once and then every second, four times in the watchdog's
 * time if that is more often; it decides whether the process is alive. What is wrong with the variables is logged. */
void tc_notify_start(struct tc_notify *n, uv_loop_t *loop, void (*on_tick)(void *arg), void *arg);

void tc_notify_ready(struct tc_notify *n);
void tc_notify_status(struct tc_notify *n, const char *status); /* one line for people; a copy, cut at 127 bytes */
/* The way out may take within_ms from now: the supervisor waits as long, whatever its own limit is. */
void tc_notify_stopping(struct tc_notify *n, uint64_t within_ms);
void tc_notify_alive(struct tc_notify *n);

/* No on_tick any more; the memory is needed until the loop has run once more. */
void tc_notify_close(struct tc_notify *n);

#endif
