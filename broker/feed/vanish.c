/* Asking about a log that is gone. Happy path: EXISTS of log and meta, the epoch and the eviction counter -> the last
 * answer, whichever it is, decides, if it is the master's. Fails: a lost link leaves all as it was; the next sweep
 * finds the log gone again.
 */
#include "feed/vanish.h"

#include "feed/epoch.h"
#include "feed/eviction.h"
#include "redis/reply.h"

#include <stdlib.h>

enum answer { UNKNOWN = 0, ABSENT, PRESENT };

struct vanish {
    struct feed *feed; /* NULL once it went */
    enum answer log, meta;
    bool other;      /* Redis has another epoch than the log was read in, or none */
    int64_t evicted; /* keys, ever; -1 = not known */
    unsigned calls;  /* answers to come, and one while asking */
    struct tc_redis_inquiry inquiry;
};

static void tell(struct feed *f, const struct vanish *v) {
    uint64_t now = hub_now_ms(f->hub);
    bool evicted = eviction_has_struck(f->hub, v->evicted);
    if (f->has_meta && v->meta == ABSENT && v->other && !evicted) /* eviction may take all three, too */
        feed_vanished(f, "redis_emptied", "Redis has lost its data; the log of this generation was in it.");
    else if (f->expires_ms != 0 && now + 2 * (uint64_t)f->hub->opts.sweep_ms >= f->expires_ms)
        feed_vanished(f, "log_expired", "The log expired: no worker has written it for the retention time.");
    else if (evicted)
        feed_vanished(f, "log_evicted", "Redis evicted the log to save memory; see its maxmemory-policy.");
    else
        feed_vanished(f, "log_deleted", "The log was deleted from Redis.");
}

static void on_confirmed(void *arg, bool gone) {
    struct vanish *v = arg;
    struct feed *f = v->feed;
    if (f != NULL) {
        f->vanish = NULL;
        f->reading = f->again = false;
        f->quiet_ms = hub_now_ms(f->hub);
        if (gone)
            tell(f, v);
        else
            feed_wake(f);
    }
    free(v);
}

static void count_off(struct vanish *v) {
    if (--v->calls > 0)
        return;
    v->inquiry = (struct tc_redis_inquiry){.cb = on_confirmed, .arg = v};
    if (v->feed != NULL && v->log == ABSENT)
        tc_redis_confirm(v->feed->hub->redis, &v->inquiry);
    else
        on_confirmed(v, false);
}

static enum answer answer_of(int err, const redisReply *reply) {
    if (err != 0 || reply->type != REDIS_REPLY_INTEGER)
        return UNKNOWN;
    return reply->integer > 0 ? PRESENT : ABSENT;
}

static void on_log(void *arg, int err, const redisReply *reply) {
    struct vanish *v = arg;
    v->log = answer_of(err, reply);
    count_off(v);
}

static void on_meta(void *arg, int err, const redisReply *reply) {
    struct vanish *v = arg;
    v->meta = answer_of(err, reply);
    count_off(v);
}

static void on_epoch(void *arg, int err, const redisReply *reply) {
    struct vanish *v = arg;
    if (v->feed != NULL)
        v->other = err == 0 && epoch_differs(v->feed->hub, v->feed->epoch, reply);
    count_off(v);
}

static void on_stats(void *arg, int err, const redisReply *reply) {
    struct vanish *v = arg;
    if (err == 0)
        v->evicted = eviction_count(reply);
    count_off(v);
}

void vanish_inquire(struct feed *f) {
    struct vanish *v = calloc(1, sizeof *v);
    if (v == NULL) {
        f->reading = f->again = false; /* found again by the next sweep */
        return;
    }
    struct tc_redis *redis = f->hub->redis;
    struct tc_str route = tc_str_from(f->log_key);
    char key[TC_KEY_MAX];
    struct tc_str epoch = {key, tc_key_epoch(key, f->hub->opts.prefix)};
    v->feed = f;
    v->evicted = -1;
    v->calls = 1;
    f->vanish = v;
    f->reading = true;
    v->calls += tc_redis_command(redis, route, on_meta, v, "EXISTS %s", f->meta_key) == 0;
    v->calls += tc_redis_command(redis, epoch, on_epoch, v, "GET %s", key) == 0;
    v->calls += tc_redis_command(redis, (struct tc_str){"", 0}, on_stats, v, "INFO stats") == 0;
    v->calls += tc_redis_command(redis, route, on_log, v, "EXISTS %s", f->log_key) == 0;
    count_off(v);
}

void vanish_forget(struct feed *f) {
    if (f->vanish != NULL)
        f->vanish->feed = NULL;
    f->vanish = NULL;
}
