/* Many deadlines under one timer: a wheel with a slot for each of the next milliseconds. What is due later waits in the
 * last slot and is looked at again. Caller's memory; loop thread only. */
#ifndef WORKER_PROVIDER_WHEEL_H
#define WORKER_PROVIDER_WHEEL_H

#include "base/list.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define WHEEL_SLOTS 256 /* a power of two; milliseconds */

/* Part of what waits; zeroed: it does not. */
struct wheel_item {
    struct tc_list node;
    uint64_t at_ms;
};

struct wheel {
    uv_timer_t timer;
    void (*on_due)(struct wheel_item *item); /* from the loop; may add, remove and free any item */
    struct tc_list slots[WHEEL_SLOTS];       /* of a millisecond modulo their number */
    size_t count;                            /* items that wait */
    uint64_t done_ms;                        /* up to here all was told */
    uint64_t wake_ms;                        /* the timer is set for it; 0 = it is not set */
    bool turning;                            /* on_due is on the stack */
    void (*close_cb)(void *arg);
    void *close_arg;
};

uint64_t wheel_now_ms(void); /* the monotonic clock that deadlines are given on */

void wheel_init(struct wheel *w, uv_loop_t *loop, void (*on_due)(struct wheel_item *item));
/* No item may be left. cb once, later; then the memory is the caller's. */
void wheel_close(struct wheel *w, void (*cb)(void *arg), void *arg);

/* Tells `item` at or soon after at_ms, in a later turn of the loop; one that waits already waits anew. */
void wheel_add(struct wheel *w, struct wheel_item *item, uint64_t at_ms);
void wheel_remove(struct wheel *w, struct wheel_item *item); /* idempotent */

#endif
