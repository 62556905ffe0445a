/* See multi.h. Owned by a transfer pool. */
#include "provider/multi.h"

#include "base/log.h"
#include "tokencast/error.h"

#include <pthread.h>
#include <stdlib.h>

/* The poll handle of one of curl's sockets. */
struct watch {
    uv_poll_t poll;
    struct multi *multi;
    curl_socket_t fd;
};

static void maybe_finish_close(struct multi *m) {
    if (m->closing && m->handles == 0)
        m->close_cb(m->arg);
}

static void on_watch_closed(uv_handle_t *handle) {
    struct watch *w = handle->data;
    struct multi *m = w->multi;

    free(w);
    m->handles--;
    maybe_finish_close(m);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
    struct watch *w = poll->data;
    struct multi *m = w->multi;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;

    if (m->closing)
        return;
    flags |= events & UV_READABLE ? CURL_CSELECT_IN : 0;
    flags |= events & UV_WRITABLE ? CURL_CSELECT_OUT : 0;
    curl_multi_socket_action(m->curl, w->fd, flags, &running);
    m->after(m->arg);
}

static struct watch *watch_create(struct multi *m, curl_socket_t fd) {
    struct watch *w = calloc(1, sizeof(*w));

    if (!w)
        return NULL;
    if (uv_poll_init_socket(m->loop, &w->poll, fd) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->multi = m;
    w->fd = fd;
    m->handles++;
    curl_multi_assign(m->curl, fd, w);
    return w;
}

/* Before curl closes the descriptor: its number may be another socket's in a moment. */
static void watch_close(struct watch *w) {
    curl_multi_assign(w->multi->curl, w->fd, NULL);
    uv_poll_stop(&w->poll);
    uv_close((uv_handle_t *)&w->poll, on_watch_closed);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg) {
    struct multi *m = arg;
    struct watch *w = socket_arg;
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w)
            watch_close(w);
        return 0;
    }
    if (!w)
        w = watch_create(m, fd);
    if (!w || uv_poll_start(&w->poll, events, on_poll) != 0) {
        tc_log(TC_LOG_ERROR, "cannot watch a connection to the model server", TC_LI("fd", fd));
        return -1;
    }
    return 0;
}

static void on_timer(uv_timer_t *timer);
static void on_soon(uv_idle_t *idle);

/* libuv counts whole milliseconds and may be early by almost one; curl does not ask again for a deadline that it had
 * asked for, so it must not be woken too early. */
static void start_timer(struct multi *m, long ms) {
    uv_update_time(m->loop);
    uv_timer_start(&m->timer, on_timer, (uint64_t)ms + 1, 0);
}

/* At once means in the next turn of the loop: a timer of 0 ms that a timer starts may run in the same turn, again and
 * again, while no socket is looked at. */
static void arm(struct multi *m, long ms) {
    uv_timer_stop(&m->timer);
    uv_idle_stop(&m->soon);
    if (ms > 0)
        start_timer(m, ms);
    else if (ms == 0)
        uv_idle_start(&m->soon, on_soon);
}

static bool is_armed(const struct multi *m) {
    return uv_is_active((const uv_handle_t *)&m->timer) || uv_is_active((const uv_handle_t *)&m->soon);
}

static int on_curl_timer(CURLM *curl, long ms, void *arg) {
    struct multi *m = arg;

    (void)curl;
    if (!m->closing)
        arm(m, ms);
    return 0;
}

static void tell_time(struct multi *m) {
    int running;
    long ms = -1;

    curl_multi_socket_action(m->curl, CURL_SOCKET_TIMEOUT, 0, &running);
    if (!is_armed(m) && curl_multi_timeout(m->curl, &ms) == CURLM_OK && ms >= 0)
        arm(m, ms);
    m->after(m->arg);
}

static void on_timer(uv_timer_t *timer) {
    tell_time(timer->data);
}

static void on_soon(uv_idle_t *idle) {
    uv_idle_stop(idle);
    tell_time(idle->data);
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

/* Never undone: other threads may still use curl, and the process ends anyway. */
static void init_curl(void) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        abort();
}

int multi_init(struct multi *m, uv_loop_t *loop, void (*after)(void *arg), void *arg) {
    *m = (struct multi){.loop = loop, .after = after, .arg = arg};
    pthread_once(&curl_once, init_curl);
    m->curl = curl_multi_init();
    if (!m->curl)
        return TC_ENOMEM;
    uv_timer_init(loop, &m->timer);
    uv_idle_init(loop, &m->soon);
    m->timer.data = m->soon.data = m;
    m->handles = 2;
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
    /* One request a connection: HTTP/2 towards a model server would put hundreds of streams behind one window. */
    curl_multi_setopt(m->curl, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct multi *m = handle->data;

    m->handles--;
    maybe_finish_close(m);
}

void multi_close(struct multi *m, void (*cb)(void *arg)) {
    m->closing = true;
    m->close_cb = cb;
    curl_multi_cleanup(m->curl); /* takes its sockets off the loop by way of on_socket */
    m->curl = NULL;
    uv_close((uv_handle_t *)&m->timer, on_handle_closed);
    uv_close((uv_handle_t *)&m->soon, on_handle_closed);
}
