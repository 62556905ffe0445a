/* See wheel.h. Owned by a provider. The timer sleeps until the first slot with something in it, so that a wheel with
 * little on it wakes as seldom as that asks for. */
#include "provider/wheel.h"

#include "base/clock.h"

#include <assert.h>

uint64_t wheel_now_ms(void) {
    return tc_mono_us() / 1000;
}

static struct tc_list *slot_of(struct wheel *w, uint64_t ms) {
    return &w->slots[ms % WHEEL_SLOTS];
}

static void on_timer(uv_timer_t *timer);

/* Not sooner than in `least` milliseconds. */
static void wake_at(struct wheel *w, uint64_t ms, uint64_t least) {
    if (w->wake_ms != 0 && w->wake_ms <= ms)
        return;
    uint64_t now = wheel_now_ms();
    w->wake_ms = ms;
    uv_update_time(w->timer.loop);
    uv_timer_start(&w->timer, on_timer, ms > now + least ? ms - now : least, 0);
}

/* Called by the timer, which must not be due again at once: late as it may be, sockets have their turn. */
static void sleep_on(struct wheel *w) {
    if (w->count == 0)
        return;
    uint64_t ms = w->done_ms + 1;
    while (tc_list_empty(slot_of(w, ms)))
        ms++; /* ends: an item is in one of the slots */
    wake_at(w, ms, 1);
}

static void put(struct wheel *w, struct wheel_item *item) {
    uint64_t last = w->done_ms + WHEEL_SLOTS;
    uint64_t ms = item->at_ms <= w->done_ms ? w->done_ms + 1 : item->at_ms > last ? last : item->at_ms;
    tc_list_add_tail(slot_of(w, ms), &item->node);
    w->count++;
    if (!w->turning)
        wake_at(w, ms, 0);
}

static void collect(struct wheel *w, uint64_t ms, struct tc_list *due) {
    struct tc_list *slot = slot_of(w, ms);
    while (!tc_list_empty(slot)) {
        struct tc_list *node = slot->next;
        tc_list_remove(node);
        tc_list_add_tail(due, node);
    }
}

/* All that is due is taken off first: what is added meanwhile waits for a later turn, so that nobody turns the wheel
 * without an end. */
static void on_timer(uv_timer_t *timer) {
    struct wheel *w = timer->data;
    struct tc_list due;
    uint64_t now = wheel_now_ms(), last = now - w->done_ms > WHEEL_SLOTS ? w->done_ms + WHEEL_SLOTS : now;

    w->wake_ms = 0;
    tc_list_init(&due);
    for (uint64_t ms = w->done_ms + 1; ms <= last; ms++)
        collect(w, ms, &due);
    w->done_ms = now;
    w->turning = true;
    while (!tc_list_empty(&due)) {
        struct wheel_item *item = TC_CONTAINER_OF(due.next, struct wheel_item, node);
        wheel_remove(w, item);
        if (item->at_ms > now)
            put(w, item);
        else
            w->on_due(item);
    }
    w->turning = false;
    sleep_on(w);
}

void wheel_init(struct wheel *w, uv_loop_t *loop, void (*on_due)(struct wheel_item *item)) {
    *w = (struct wheel){.on_due = on_due};
    for (size_t i = 0; i < WHEEL_SLOTS; i++)
        tc_list_init(&w->slots[i]);
    uv_timer_init(loop, &w->timer);
    w->timer.data = w;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct wheel *w = handle->data;
    w->close_cb(w->close_arg);
}

void wheel_close(struct wheel *w, void (*cb)(void *arg), void *arg) {
    assert(w->count == 0);
    w->close_cb = cb;
    w->close_arg = arg;
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

void wheel_add(struct wheel *w, struct wheel_item *item, uint64_t at_ms) {
    wheel_remove(w, item);
    if (w->count == 0 && !w->turning)
        w->done_ms = wheel_now_ms() - 1; /* it stood still */
    item->at_ms = at_ms;
    put(w, item);
}

void wheel_remove(struct wheel *w, struct wheel_item *item) {
    if (!tc_list_linked(&item->node))
        return;
    tc_list_remove(&item->node);
    if (--w->count == 0 && !w->turning) {
        uv_timer_stop(&w->timer);
        w->wake_ms = 0;
    }
}
