/* send() through an io_uring, as cheap as it gets: one system call for all readers of a tick, completions only of what
 * went wrong. Without liburing at build time, or where the kernel refuses, ring_create() ends the program and says why.
 * One thread. */
#ifndef BENCH_RING_H
#define BENCH_RING_H

struct herd;
struct reader;
struct ring;

struct ring *ring_create(void);
void ring_destroy(struct ring *ring); /* NULL is fine */

/* Queues what is left of the reader's tape. */
void ring_send(struct ring *ring, struct herd *h, struct reader *r);

/* All that is queued goes out; what was not taken whole is told to herd_sent(). */
void ring_flush(struct ring *ring, struct herd *h);

#endif
