/* The bare server's readers: accepted, asked, sent their tape. How the bytes go out is chosen once: send() for each
 * reader, or through an io_uring. One thread. */
#ifndef BENCH_HERD_H
#define BENCH_HERD_H

#include "tape.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring;

struct reader {
    int fd;           /* -1 before it came and after it went */
    bool asked;       /* its request is in; the request's bytes are of no interest but for its end */
    bool blocked;     /* waits for room in its socket */
    unsigned matched; /* bytes of CR LF CR LF seen */
    size_t sent;      /* bytes of its tape */
    size_t base;      /* the same before what is in the ring */
    size_t step;      /* bytes a send(): SIZE_MAX but for the victim under --dribble */
    const struct tape *tape;
};

struct herd {
    int listener, epoll;
    int64_t count;
    struct reader *readers; /* owned, `count` of them, in the order in which they came */
    struct ring *ring;      /* owned; NULL: send() */
    /* chooses the tape (and the step) of a reader that came; borrowed */
    void (*on_accept)(struct reader *r, int64_t index, void *arg);
    void *arg;
    int64_t came, ready, gone, sends, blocks;
};

/* Each ends the program if it cannot. Returns the port, of 127.0.0.1. */
int herd_init(struct herd *h, int64_t count, bool uring);
void herd_fini(struct herd *h);

/* One turn of the loop: who came, who asked, who has room again. */
void herd_serve(struct herd *h, int timeout_ms);

/* Until `until` (monotonic), or sooner when `enough` (may be NULL) says so. */
void herd_serve_until(struct herd *h, uint64_t until, bool (*enough)(const struct herd *h));

bool herd_all_ready(const struct herd *h);
bool herd_all_gone(const struct herd *h);

/* Sends what is left of their tapes to the readers first, first + stride, …: one event as a rule. */
void herd_send(struct herd *h, int64_t first, int64_t stride);

/* The outcome of a send through the ring: `n` bytes of it were taken, or a negative errno. */
void herd_sent(struct herd *h, struct reader *r, int n);

#endif
