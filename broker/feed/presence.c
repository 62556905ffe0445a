/* Viewer leases. TIME is asked first and the lease written when it is answered: the score must be Redis's time. */
#include "feed/presence.h"

#include "redis/reply.h"

static void on_added(void *arg, int err, const redisReply *reply) {
    (void)err;
    (void)reply;
    (void)feed_call_done(arg);
}

static void on_time(void *arg, int err, const redisReply *reply) {
    struct feed *f = arg;
    if (feed_call_done(f) || err != 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2)
        return;
    int64_t seconds, micros;
    if (!tc_reply_int(reply->element[0], &seconds) || !tc_reply_int(reply->element[1], &micros))
        return;
    char key[TC_KEY_MAX];
    size_t n = tc_key_gen(key, f->hub->opts.prefix, TC_KEY_VIEWERS, f->id);
    struct tc_str route = {key, n};
    long long expiry = seconds * 1000 + micros / 1000 + f->hub->opts.lease_ms;
    if (tc_redis_command(f->hub->redis, route, on_added, f, "ZADD %s %lld %s", key, expiry, f->hub->opts.instance) == 0)
        f->calls++;
    /* The set must not outlive everybody: its TTL is set again with every lease. */
    if (tc_redis_command(f->hub->redis, route, on_added, f, "PEXPIRE %s %lld", key,
                         (long long)f->hub->opts.lease_ms * 6) == 0)
        f->calls++;
}

/* Nobody here any more: the lease is left to run out. Taken away at once, a short visit between two looks of the worker
 * would not count, and the grace time would run on from before it. */
void presence_report(struct feed *f, uint64_t now_ms) {
    if (!feed_is_watched(f)) {
        f->viewed_ms = 0;
        return;
    }
    if (f->viewed_ms != 0 && now_ms - f->viewed_ms < (uint64_t)f->hub->opts.lease_ms / 3)
        return;
    if (tc_redis_command(f->hub->redis, tc_str_from(f->log_key), on_time, f, "TIME") != 0)
        return;
    f->calls++;
    f->viewed_ms = now_ms;
}
