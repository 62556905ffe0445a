/* Deadlines of connections, walked by one timer that is late by at most TICK_MS. Loop thread; part of the server. */
#include "http/wait.h"

#define TICK_MS 250

void waits_start(struct waits *ws, uv_loop_t *loop, const uint64_t length_ms[WAIT_KINDS],
                 void (*on_over)(struct wait *w)) {
    for (int i = 0; i < WAIT_KINDS; i++) {
        tc_list_init(&ws->queue[i]);
        ws->length_ms[i] = length_ms[i];
    }
    (void)uv_timer_init(loop, &ws->tick);
    ws->tick.data = ws;
    ws->on_over = on_over;
    ws->open = true;
}

/* Takes one overdue wait off the queue; NULL when there is none. One at a time, because on_over may change any queue.
 */
static struct wait *take_overdue(struct tc_list *queue, uint64_t now) {
    if (tc_list_empty(queue))
        return NULL;
    struct wait *w = TC_CONTAINER_OF(queue->next, struct wait, node);
    if (w->deadline > now)
        return NULL;
    tc_list_remove(&w->node);
    return w;
}

static void on_tick(uv_timer_t *timer) {
    struct waits *ws = timer->data;
    uint64_t now = uv_now(timer->loop);
    bool waiting = false;
    for (int i = 0; i < WAIT_KINDS && ws->open; i++) {
        struct wait *w;
        while (ws->open && (w = take_overdue(&ws->queue[i], now)) != NULL)
            ws->on_over(w);
    }
    for (int i = 0; i < WAIT_KINDS; i++)
        waiting = waiting || !tc_list_empty(&ws->queue[i]);
    if (!waiting)
        (void)uv_timer_stop(timer);
}

void waits_set(struct waits *ws, struct wait *w, enum wait_kind kind) {
    if (!ws->open)
        return;
    tc_list_remove(&w->node);
    w->deadline = uv_now(ws->tick.loop) + ws->length_ms[kind];
    tc_list_add_tail(&ws->queue[kind], &w->node);
    if (!uv_is_active((uv_handle_t *)&ws->tick))
        (void)uv_timer_start(&ws->tick, on_tick, TICK_MS, TICK_MS);
}

void waits_clear(struct wait *w) {
    tc_list_remove(&w->node);
}

static void on_tick_closed(uv_handle_t *handle) {
    struct waits *ws = handle->data;
    ws->on_closed(ws->arg);
}

void waits_close(struct waits *ws, void (*on_closed)(void *arg), void *arg) {
    ws->open = false;
    ws->on_closed = on_closed;
    ws->arg = arg;
    uv_close((uv_handle_t *)&ws->tick, on_tick_closed);
}
