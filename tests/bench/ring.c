/* The bare loop's io_uring. MSG_WAITALL: else a short send would count as success, and without a completion its rest
 * would be skipped. MSG_DONTWAIT: the kernel must not wait for a slow reader in our stead. One thread. */
#include "ring.h"

#include "args.h"

#ifdef TC_BENCH_URING

#include "herd.h"

#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define ENTRIES 16384

struct ring {
    struct io_uring uring;
};

struct ring *ring_create(void) {
    struct ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL)
        bench_die("no memory");
    int err = io_uring_queue_init(ENTRIES, &ring->uring, 0);
    if (err < 0)
        bench_die("the kernel refuses io_uring: %s", strerror(-err));
    return ring;
}

void ring_destroy(struct ring *ring) {
    if (ring == NULL)
        return;
    io_uring_queue_exit(&ring->uring);
    free(ring);
}

static void reap(struct ring *ring, struct herd *h) {
    struct io_uring_cqe *cqe;
    unsigned head, seen = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe) {
        herd_sent(h, io_uring_cqe_get_data(cqe), cqe->res);
        seen++;
    }
    io_uring_cq_advance(&ring->uring, seen);
}

void ring_flush(struct ring *ring, struct herd *h) {
    while (io_uring_sq_ready(&ring->uring) > 0) {
        int n = io_uring_submit(&ring->uring);
        if (n < 0)
            bench_die("io_uring: %s", strerror(-n));
    }
    reap(ring, h);
}

void ring_send(struct ring *ring, struct herd *h, struct reader *r) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (sqe == NULL) {
        ring_flush(ring, h);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    io_uring_prep_send(sqe, r->fd, r->tape->data + r->sent, r->tape->len - r->sent,
                       MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL);
    io_uring_sqe_set_flags(sqe, IOSQE_CQE_SKIP_SUCCESS);
    io_uring_sqe_set_data(sqe, r);
    r->base = r->sent;
    r->sent = r->tape->len; /* unless herd_sent() tells otherwise */
}

#else

struct ring *ring_create(void) {
    bench_die("built without liburing");
}

void ring_destroy(struct ring *ring) {
    (void)ring;
}

void ring_send(struct ring *ring, struct herd *h, struct reader *r) {
    (void)ring;
    (void)h;
    (void)r;
}

void ring_flush(struct ring *ring, struct herd *h) {
    (void)ring;
    (void)h;
}

#endif
