/* See backlog.h. Happy path: timer -> XINFO GROUPS -> counts. Fails: nothing is known until the next answer. */
#include "run/backlog.h"

#include "base/clock.h"
#include "redis/reply.h"

#include <assert.h>

#define GROUP    "workers"
#define FIRST_MS 500 /* the link needs a moment */
#define EVERY_MS 5000
#define SPREAD   20 /* percent: workers that were started together do not ask together */

static const struct backlog_counts unknown = {-1, -1};

static void on_timer(uv_timer_t *timer);

static void maybe_closed(struct backlog *b) {
    if (b->closing && b->timer_closed && !b->asking)
        b->close_cb(b->close_arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct backlog *b = handle->data;
    b->timer_closed = true;
    maybe_closed(b);
}

/* The value behind a name in a list of names and values; NULL if it is not there. */
static const redisReply *value_of(const redisReply *list, const char *name) {
    for (size_t i = 0; list->type == REDIS_REPLY_ARRAY && i + 1 < list->elements; i += 2)
        if (tc_str_is(tc_reply_str(list->element[i]), name))
            return list->element[i + 1];
    return NULL;
}

/* Redis says nil where deleted entries keep it from counting, and older ones have no `lag` at all. */
static int64_t count_of(const redisReply *group, const char *name) {
    const redisReply *value = value_of(group, name);
    return value != NULL && value->type == REDIS_REPLY_INTEGER && value->integer >= 0 ? value->integer : -1;
}

void backlog_read(const redisReply *groups, struct backlog_counts *out) {
    *out = unknown;
    for (size_t i = 0; groups->type == REDIS_REPLY_ARRAY && i < groups->elements; i++) {
        const redisReply *group = groups->element[i], *name = value_of(group, "name");
        if (name == NULL || !tc_str_is(tc_reply_str(name), GROUP))
            continue;
        out->waiting = count_of(group, "lag");
        out->taken = count_of(group, "pending");
    }
}

static void on_groups(void *arg, int err, const redisReply *reply) {
    struct backlog *b = arg;
    b->asking = false;
    if (b->closing) {
        maybe_closed(b);
        return;
    }
    b->counts = unknown;
    if (err == 0)
        backlog_read(reply, &b->counts);
}

static void on_timer(uv_timer_t *timer) {
    struct backlog *b = timer->data;
    uv_timer_start(&b->timer, on_timer, tc_jitter(EVERY_MS, SPREAD), 0);
    if (b->asking)
        return;
    b->asking = tc_redis_command(b->redis, tc_str_from(b->key), on_groups, b, "XINFO GROUPS %s", b->key) == 0;
    if (!b->asking)
        b->counts = unknown;
}

void backlog_start(struct backlog *b, uv_loop_t *loop, struct tc_redis *redis, const char *prefix, const char *queue) {
    *b = (struct backlog){.redis = redis, .counts = unknown};
    tc_key_jobs(b->key, prefix, queue);
    uv_timer_init(loop, &b->timer);
    b->timer.data = b;
    uv_timer_start(&b->timer, on_timer, FIRST_MS, 0);
}

void backlog_close(struct backlog *b, void (*cb)(void *arg), void *arg) {
    assert(!b->closing);
    b->closing = true;
    b->close_cb = cb;
    b->close_arg = arg;
    uv_close((uv_handle_t *)&b->timer, on_timer_closed);
}
