/* The supervisor's datagrams (see notify.h). Loop thread. What is to be said is a set of bits, so that a supervisor
 * that does not read can never make a queue grow here: it gets the newest state when it reads again. */
#include "ops/notify.h"

#include "base/log.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 1000

enum { DUE_READY = 1, DUE_STATUS = 2, DUE_STOPPING = 4, DUE_ALIVE = 8 };

/* ---- What the environment says ---- */

/* A path, or a name of Linux's abstract namespace, written with @ for its first byte. */
static bool set_address(struct tc_notify *n, const char *name) {
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof n->to.sun_path)
        return false;
    n->to = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(n->to.sun_path, name, len);
    if (name[0] == '@')
        n->to.sun_path[0] = '\0';
    /* Every byte of an abstract name counts; a path ends with a zero. */
    n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
    return true;
}

static void open_socket(struct tc_notify *n, const char *name) {
    if (!set_address(n, name)) {
        tc_log(TC_LOG_WARN, "the supervisor is not told: NOTIFY_SOCKET is no address", TC_LS("socket", name));
        return;
    }
    n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (n->fd < 0)
        tc_log(TC_LOG_WARN, "the supervisor is not told: no socket", TC_LS("why", strerror(errno)));
}

/* A whole positive decimal number, else 0. */
static uint64_t read_number(const char *text) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0 ? value : 0;
}

static void read_watchdog(struct tc_notify *n, const char *usec, const char *pid) {
    if (usec == NULL || (pid != NULL && read_number(pid) != (uint64_t)getpid()))
        return; /* it watches nobody, or another process */
    uint64_t quarter = read_number(usec) / 4000;
    if (read_number(usec) == 0) {
        tc_log(TC_LOG_WARN, "no watchdog: WATCHDOG_USEC is no time", TC_LS("usec", usec));
        return;
    }
    n->watched = true;
    if (quarter < n->tick_ms)
        n->tick_ms = quarter > 0 ? quarter : 1;
}

/* ---- Datagrams ---- */

static int put(char *to, size_t size, const struct tc_notify *n) {
    int len = snprintf(to, size, "%s%s%s%s%s", n->due & DUE_READY ? "READY=1\n" : "",
                       n->due & DUE_STATUS ? "STATUS=" : "", n->due & DUE_STATUS ? n->status : "",
                       n->due & DUE_STATUS ? "\n" : "", n->due & DUE_ALIVE ? "WATCHDOG=1\n" : "");
    if (n->due & DUE_STOPPING)
        len += snprintf(to + len, size - (size_t)len, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu\n",
                        (unsigned long long)n->within_ms * 1000);
    return len;
}

static void say_due(struct tc_notify *n) {
    char text[sizeof n->status + 128];
    if (n->fd < 0 || n->due == 0)
        return;
    int len = put(text, sizeof text, n);
    n->due &= ~(unsigned)DUE_ALIVE; /* said late it would be a lie; the next tick says it again */
    if (sendto(n->fd, text, (size_t)len, MSG_NOSIGNAL, (struct sockaddr *)&n->to, n->to_len) == len)
        n->due = 0;
    else if (errno != EAGAIN && errno != ENOBUFS && errno != EINTR)
        tc_log(TC_LOG_DEBUG, "the supervisor does not listen", TC_LS("why", strerror(errno)));
}

static void say(struct tc_notify *n, unsigned what) {
    n->due |= what;
    say_due(n);
}

static void on_tick(uv_timer_t *timer) {
    struct tc_notify *n = timer->data;
    say_due(n);
    n->on_tick(n->arg);
}

/* ---- */

void tc_notify_start(struct tc_notify *n, uv_loop_t *loop, void (*tick)(void *arg), void *arg) {
    const char *name = getenv("NOTIFY_SOCKET");
    *n = (struct tc_notify){.fd = -1, .tick_ms = TICK_MS, .on_tick = tick, .arg = arg};
    uv_timer_init(loop, &n->tick);
    n->tick.data = n;
    if (name != NULL && name[0] != '\0')
        open_socket(n, name);
    if (n->fd >= 0) {
        read_watchdog(n, getenv("WATCHDOG_USEC"), getenv("WATCHDOG_PID"));
        uv_timer_start(&n->tick, on_tick, 0, n->tick_ms);
    }
    unsetenv("NOTIFY_SOCKET");
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
}

void tc_notify_ready(struct tc_notify *n) {
    say(n, DUE_READY);
}

void tc_notify_status(struct tc_notify *n, const char *status) {
    if (strncmp(n->status, status, sizeof n->status - 1) == 0)
        return; /* it knows */
    snprintf(n->status, sizeof n->status, "%s", status);
    say(n, DUE_STATUS);
}

void tc_notify_stopping(struct tc_notify *n, uint64_t within_ms) {
    n->within_ms = within_ms;
    say(n, DUE_STOPPING);
}

void tc_notify_alive(struct tc_notify *n) {
    if (n->watched)
        say(n, DUE_ALIVE);
}

void tc_notify_close(struct tc_notify *n) {
    say_due(n);
    if (n->fd >= 0)
        close(n->fd);
    n->fd = -1;
    uv_close((uv_handle_t *)&n->tick, NULL);
}
