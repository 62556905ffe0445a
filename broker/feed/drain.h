/* Shedding the streams of a loop that shuts down, spread over a window so that other brokers get them little by little.
 * First go rooms, then readers of what has not begun or has no worker, then those of generations that have said most:
 * a stream whose generation ends within the window simply ends. Bare text cannot be told to come back; it stays to the
 * end. Loop thread; owned by the hub. */
#ifndef BROKER_FEED_DRAIN_H
#define BROKER_FEED_DRAIN_H

#include <stddef.h>
#include <stdint.h>

struct hub;
struct feed;

struct drain {
    struct feed **order; /* referenced; NULL = no memory for it: all go at once when the window is over */
    size_t count, hand;
    uint64_t begun_ms, window_ms; /* loop time */
    uint64_t total;               /* streams when it began */
    unsigned retry_ms;            /* hint to clients, jittered for each */
};

void drain_begin(struct hub *h, uint64_t window_ms, unsigned retry_ms);
/* Sheds what is due by now. */
void drain_tick(struct hub *h);
void drain_fini(struct hub *h); /* accepts one that never began */

#endif
