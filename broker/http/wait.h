/* Deadlines of connections: one queue a kind of waiting. All waits of a kind take equally long, so each queue is in
 * order of its deadlines by itself, and one coarse timer a server looks at the heads. Loop thread. */
#ifndef BROKER_HTTP_WAIT_H
#define BROKER_HTTP_WAIT_H

#include "base/list.h"

#include <stdint.h>
#include <uv.h>

enum wait_kind { WAIT_HEADER, WAIT_BODY, WAIT_IDLE, WAIT_STALL, WAIT_LINGER, WAIT_KINDS };

struct wait {
    struct tc_list node;
    uint64_t deadline; /* uv_now() milliseconds */
};

struct waits {
    struct tc_list queue[WAIT_KINDS];
    uint64_t length_ms[WAIT_KINDS];
    uv_timer_t tick; /* runs only while something waits */
    bool open;
    void (*on_over)(struct wait *w); /* the wait is already off its queue */
    void (*on_closed)(void *arg);
    void *arg;
};

void waits_start(struct waits *ws, uv_loop_t *loop, const uint64_t length_ms[WAIT_KINDS],
                 void (*on_over)(struct wait *w));
/* (Re)starts w's wait from now. */
void waits_set(struct waits *ws, struct wait *w, enum wait_kind kind);
void waits_clear(struct wait *w);
void waits_close(struct waits *ws, void (*on_closed)(void *arg), void *arg);

#endif
