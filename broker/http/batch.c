/* See batch.h. A send with MSG_DONTWAIT is finished, one way or the other, when io_uring_enter() returns; one that was
 * taken whole leaves no completion (IOSQE_CQE_SKIP_SUCCESS), so that the ordinary case costs nothing to reap. Without
 * MSG_WAITALL a short send would count as taken whole, and bytes would be skipped. */
#include "http/batch.h"

#include "base/log.h"
#include "http/conn.h"
#include "tokencast/error.h"

#ifdef TC_HAVE_LIBURING
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define BATCH_SENDS 512 /* as many as a turn of the loop flushes */

struct pending {
    void *arg;
    size_t wanted;
};

/* Descriptors that the ring knows, by slot; a connection holds its slot + 1. */
struct files {
    int *unused; /* slots that were given back */
    unsigned unused_count, next, size;
};

struct http_batch {
    struct io_uring ring;
    struct files files;
    http_batch_unsent unsent;
    unsigned count;
    bool failed; /* the ring is gone: everybody sends by itself */
    struct pending pending[BATCH_SENDS];
};

static void open_files(struct http_batch *b, size_t streams) {
    struct rlimit limit = {.rlim_cur = 0};
    (void)getrlimit(RLIMIT_NOFILE, &limit); /* the kernel wants no larger table */
    unsigned size = (unsigned)(streams < limit.rlim_cur ? streams : limit.rlim_cur);
    b->files.unused = malloc((size + 1) * sizeof *b->files.unused);
    if (b->files.unused != NULL && io_uring_register_files_sparse(&b->ring, size) == 0)
        b->files.size = size;
}

static void learn(struct http_batch *b, struct http_conn *c) {
    struct files *f = &b->files;
    unsigned slot;
    if (f->unused_count > 0)
        slot = (unsigned)f->unused[--f->unused_count];
    else if (f->next < f->size)
        slot = f->next++;
    else
        return;
    if (io_uring_register_files_update(&b->ring, slot, &c->fd, 1) == 1)
        c->slot = slot + 1;
    else
        f->size = 0; /* then without */
}

void http_batch_forget(struct http_batch *b, struct http_conn *c) {
    int none = -1;
    if (b == NULL || c->slot == 0)
        return;
    if (!b->failed && io_uring_register_files_update(&b->ring, c->slot - 1, &none, 1) == 1)
        b->files.unused[b->files.unused_count++] = (int)c->slot - 1;
    c->slot = 0;
}

/* Nothing that is refused may hold up what stands behind it, and the loop needs no interrupt to be told of work that
 * is done before its call returns. */
static int open_ring(struct io_uring *ring) {
    struct io_uring_params p = {.flags = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN};
    int err = io_uring_queue_init_params(BATCH_SENDS, ring, &p);
    if (err == -EINVAL) { /* the second flag came with 5.19 */
        p = (struct io_uring_params){.flags = IORING_SETUP_SUBMIT_ALL};
        err = io_uring_queue_init_params(BATCH_SENDS, ring, &p);
    }
    if (err == 0 && !(p.features & IORING_FEAT_CQE_SKIP)) {
        io_uring_queue_exit(ring);
        err = -EINVAL;
    }
    return err;
}

int http_batch_create(struct http_batch **out, size_t streams, http_batch_unsent unsent) {
    struct http_batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return TC_ENOMEM;
    int err = open_ring(&b->ring);
    if (err != 0) {
        tc_log(TC_LOG_INFO, "io_uring is not to be had", TC_LS("error", strerror(-err)));
        free(b);
        return err == -ENOMEM ? TC_ENOMEM : TC_ENOTSUP;
    }
    open_files(b, streams);
    b->unsent = unsent;
    *out = b;
    return 0;
}

void http_batch_destroy(struct http_batch *b) {
    if (b == NULL)
        return;
    assert(b->count == 0);
    if (!b->failed)
        io_uring_queue_exit(&b->ring);
    free(b->files.unused);
    free(b);
}

bool http_batch_add(struct http_batch *b, struct http_conn *c, const char *data, size_t len, void *arg) {
    if (b == NULL || c->state != CONN_STREAMING || c->gone)
        return false;
    if (b->count == BATCH_SENDS)
        http_batch_submit(b);
    struct io_uring_sqe *sqe = b->failed ? NULL : io_uring_get_sqe(&b->ring);
    if (sqe == NULL)
        return false;
    if (c->slot == 0)
        learn(b, c);
    io_uring_prep_send(sqe, c->slot > 0 ? (int)c->slot - 1 : c->fd, data, len,
                       MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL);
    sqe->flags = IOSQE_CQE_SKIP_SUCCESS | (c->slot > 0 ? IOSQE_FIXED_FILE : 0);
    sqe->user_data = b->count;
    b->pending[b->count++] = (struct pending){arg, len};
    return true;
}

static ssize_t sent_of(int res) {
    if (res >= 0)
        return res;
    return res == -EAGAIN || res == -EINTR || res == -ENOMEM || res == -ENOBUFS ? TC_EAGAIN : TC_EIO;
}

/* What the kernel did not even look at stays unsent; a request that lies in the ring may not be sent later. */
static void give_up(struct http_batch *b, unsigned from, unsigned count, int err) {
    tc_log(TC_LOG_ERROR, "io_uring has failed: streams are sent one by one", TC_LS("error", strerror(-err)));
    io_uring_queue_exit(&b->ring);
    b->failed = true;
    for (unsigned i = from; i < count; i++)
        b->unsent(b->pending[i].arg, b->pending[i].wanted, TC_EAGAIN);
}

static void reap(struct http_batch *b) {
    struct io_uring_cqe *cqe;
    while (io_uring_peek_cqe(&b->ring, &cqe) == 0) {
        struct pending p = b->pending[cqe->user_data];
        ssize_t sent = sent_of(cqe->res);
        io_uring_cqe_seen(&b->ring, cqe);
        b->unsent(p.arg, p.wanted, sent);
    }
}

void http_batch_submit(struct http_batch *b) {
    if (b == NULL || b->count == 0)
        return;
    unsigned count = b->count, done = 0;
    int n = 0;
    while (done < count) {
        n = io_uring_submit(&b->ring);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            break;
        done += (unsigned)n;
    }
    reap(b);
    b->count = 0;
    if (done < count)
        give_up(b, done, count, n < 0 ? n : -EIO);
}

#else

int http_batch_create(struct http_batch **out, size_t streams, http_batch_unsent unsent) {
    (void)out;
    (void)streams;
    (void)unsent;
    tc_log(TC_LOG_INFO, "this build has no io_uring");
    return TC_ENOTSUP;
}

void http_batch_destroy(struct http_batch *b) {
    (void)b;
}

bool http_batch_add(struct http_batch *b, struct http_conn *c, const char *data, size_t len, void *arg) {
    (void)b;
    (void)c;
    (void)data;
    (void)len;
    (void)arg;
    return false;
}

void http_batch_submit(struct http_batch *b) {
    (void)b;
}

void http_batch_forget(struct http_batch *b, struct http_conn *c) {
    (void)b;
    (void)c;
}
#endif
