/* See recall.h. Owned by a job run. The log below its own fence does not change any more, so that the pages fit
 * together, whatever comes between them. */
#include "run/recall.h"

#include <stdio.h>
#include <string.h>

#define PAGE 128

static void ask(struct recall *r);

static void finish(struct recall *r) {
    r->reading = false;
    r->on_recalled(r->arg);
}

/* true: this was the last page. */
static bool take_page(struct recall *r, const redisReply *reply) {
    struct tc_reply_entry entry;
    for (size_t i = 0; i < reply->elements; i++) {
        if (tc_reply_entry(reply, i, &entry) < 0) {
            r->past.flaw = "Redis answers with something else";
            return true;
        }
        past_take(&r->past, &entry);
        r->at = entry.position;
    }
    return reply->elements < PAGE;
}

static void on_page(void *arg, int err, const redisReply *reply) {
    struct recall *r = arg;
    r->waiting = false;
    if (r->stopped) {
        finish(r);
        return;
    }
    if (err < 0 || reply->type != REDIS_REPLY_ARRAY)
        return; /* recall_again */
    if (!take_page(r, reply)) {
        ask(r);
        return;
    }
    past_end(&r->past, r->last);
    finish(r);
}

static void ask(struct recall *r) {
    char from[TC_POSITION_MAX], to[TC_POSITION_MAX];
    (void)tc_position_format(r->at, from);
    (void)tc_position_format(r->last, to);
    if (tc_redis_command(r->redis, tc_str_from(r->log), on_page, r, "XRANGE %s (%s %s COUNT %d", r->log, from, to,
                         PAGE) == 0)
        r->waiting = true;
}

void recall_start(struct recall *r, struct tc_redis *redis, const char *log, struct tc_position last, size_t max_bytes,
                  void (*on_recalled)(void *arg), void *arg) {
    memset(r, 0, sizeof(*r));
    r->redis = redis;
    r->last = last;
    r->on_recalled = on_recalled;
    r->arg = arg;
    r->reading = true;
    snprintf(r->log, sizeof(r->log), "%s", log);
    past_init(&r->past, max_bytes);
    ask(r);
}

void recall_again(struct recall *r) {
    if (r->reading && !r->waiting)
        ask(r);
}

bool recall_forget(struct recall *r) {
    past_fini(&r->past);
    r->stopped = true;
    if (!r->waiting)
        r->reading = false;
    return r->waiting;
}
