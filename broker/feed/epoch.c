/* See epoch.h. */
#include "feed/epoch.h"

#include "base/clock.h"
#include "redis/reply.h"

#include <string.h>

static uint64_t epoch_of(const redisReply *reply) {
    struct tc_str s = tc_reply_str(reply);
    uint64_t epoch = 0;
    if (reply->type == REDIS_REPLY_STRING && s.n == sizeof epoch)
        memcpy(&epoch, s.p, sizeof epoch);
    return epoch;
}

static void on_epoch(void *arg, int err, const redisReply *reply) {
    struct hub *h = arg;
    if (err == 0)
        h->epoch = epoch_of(reply);
}

void epoch_look(struct hub *h) {
    char key[TC_KEY_MAX];
    uint64_t fresh;
    tc_key_epoch(key, h->opts.prefix);
    tc_random(&fresh, sizeof fresh);
    if (tc_redis_agree(h->redis, on_epoch, h, key, &fresh, sizeof fresh) != 0)
        return; /* not asked: the link is down again, and the next change asks */
}

void epoch_sweep(struct hub *h) {
    if (h->epoch == 0 && h->feeds != NULL)
        epoch_look(h);
}

bool epoch_differs(struct hub *h, uint64_t epoch, const redisReply *reply) {
    if (epoch == 0 || tc_reply_is_error(reply, NULL) || epoch_of(reply) == epoch)
        return false;
    if (h->epoch == epoch)
        h->epoch = 0;
    return true;
}
