/* The callbacks that wait for replies, in order of sending: a growing ring. Loop thread. */
#ifndef TC_REDIS_FIFO_H
#define TC_REDIS_FIFO_H

#include "base/attr.h"
#include "redis/redis.h"

struct tc_fifo_entry {
    tc_redis_reply_cb cb; /* NULL = nobody wants the reply */
    void *arg;
    uint64_t sent_ms; /* uv_now() at sending */
};

struct tc_fifo {
    struct tc_fifo_entry *ring; /* owned; cap entries, a power of two */
    size_t cap, head, count;
};

void tc_fifo_fini(struct tc_fifo *f); /* accepts zeroed memory, which is an empty one */
TC_MUST_USE int tc_fifo_push(struct tc_fifo *f, struct tc_fifo_entry e); /* TC_ENOMEM */
const struct tc_fifo_entry *tc_fifo_peek(const struct tc_fifo *f);       /* the oldest; NULL when empty */
bool tc_fifo_pop(struct tc_fifo *f, struct tc_fifo_entry *out);

#endif
