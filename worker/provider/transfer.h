/* HTTP requests to model servers: one libcurl multi handle on one libuv loop. What curl reads is handed on from the
 * loop, never from inside curl, so that a callback may start, hold, release or free any transfer. Loop thread only.
 *
 * Happy path: transfer_start -> on_body … -> on_done -> transfer_free. */
#ifndef WORKER_PROVIDER_TRANSFER_H
#define WORKER_PROVIDER_TRANSFER_H

#include "base/attr.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define TRANSFER_BUFFER_MAX (64 * 1024) /* bytes read but not handed on; beyond it the socket is left alone */
#define TRANSFER_HEAD_MAX   (64 * 1024) /* bytes of response headers */

struct transfer_pool;
struct transfer;

TC_MUST_USE int transfer_pool_create(struct transfer_pool **out, uv_loop_t *loop);
/* No transfer may be left but released ones. cb once, later; then the memory is gone. */
void transfer_pool_close(struct transfer_pool *p, void (*cb)(void *arg), void *arg);

/* All borrowed for the call to transfer_start. */
struct transfer_request {
    const char *url;
    struct tc_str headers;      /* lines, each ended by a newline */
    struct tc_str body;         /* sent with POST */
    int64_t connect_timeout_ms; /* name, TCP and TLS together */
};

/* What is known of the response; valid from the first callback on. */
struct transfer_head {
    long status;          /* 0: no response came */
    char retry_after[64]; /* as sent; "" = absent */
    char retry_after_ms[24];
};

struct transfer_events {
    /* Returns how much it took; less than all of it only after transfer_hold(). */
    size_t (*on_body)(void *arg, struct tc_str bytes);
    /* The response is over. err 0: it ended as HTTP says or the server closed; TC_ECONNECT: no connection; TC_ETLS,
     * TC_ETIMEOUT: connecting took too long, TC_ELINK: lost on the way, TC_ETOOLARGE: the headers. Once. */
    void (*on_done)(void *arg, int err);
};

TC_MUST_USE int transfer_start(struct transfer **out, struct transfer_pool *p, const struct transfer_request *req,
                               const struct transfer_events *events, void *arg);
const struct transfer_head *transfer_head(const struct transfer *t);

/* No callback from here on, and the socket is not read; and back. Idempotent. */
void transfer_hold(struct transfer *t);
void transfer_unhold(struct transfer *t);

/* Frees; if the response is not over, its connection is closed at once. No callback follows. Accepts NULL. */
void transfer_free(struct transfer *t);
/* The same for a response whose content is complete: a moment is left for its end to come, which saves the connection
 * for the next request. */
void transfer_release(struct transfer *t);

#endif
