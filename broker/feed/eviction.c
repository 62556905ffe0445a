/* See eviction.h. INFO rather than CONFIG GET, which hosted servers forbid. */
#include "feed/eviction.h"

#include "base/log.h"
#include "redis/reply.h"

#include <string.h>

/* Value of `name:` in an INFO text; empty if it is not there. */
static struct tc_str field(struct tc_str info, const char *name) {
    size_t n = strlen(name);
    for (const char *p = info.p, *end = info.p + info.n; p != NULL && p < end;) {
        const char *eol = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((eol != NULL ? eol : end) - p);
        if (len > n && p[n] == ':' && memcmp(p, name, n) == 0) {
            struct tc_str value = {p + n + 1, len - n - 1};
            while (value.n > 0 && value.p[value.n - 1] == '\r')
                value.n--;
            return value;
        }
        p = eol != NULL ? eol + 1 : end;
    }
    return (struct tc_str){NULL, 0};
}

int64_t eviction_count(const redisReply *info) {
    struct tc_str text = field(tc_reply_str(info), "evicted_keys");
    int64_t count = 0;
    if (text.n == 0 || text.n > 18)
        return -1;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] < '0' || text.p[i] > '9')
            return -1;
        count = count * 10 + (text.p[i] - '0');
    }
    return count;
}

bool eviction_has_struck(const struct hub *h, int64_t count) {
    return h->eviction.count > 0 && count > h->eviction.samples[0];
}

static void on_stats(void *arg, int err, const redisReply *reply) {
    struct hub *h = arg;
    struct eviction *e = &h->eviction;
    int64_t count = err == 0 ? eviction_count(reply) : -1;
    e->asking = false;
    if (count < 0)
        return;
    if (e->count == EVICTION_SAMPLES)
        memmove(e->samples, e->samples + 1, --e->count * sizeof e->samples[0]);
    e->samples[e->count++] = count;
}

void eviction_sample(struct hub *h) {
    if (!h->eviction.asking && h->feeds != NULL)
        h->eviction.asking = tc_redis_command(h->redis, (struct tc_str){"", 0}, on_stats, h, "INFO stats") == 0;
}

/* Every loop looks, one warns. */
static void on_memory(void *arg, int err, const redisReply *reply) {
    struct hub *h = arg;
    if (err != 0 || !h->opts.warns || h->warned)
        return;
    struct tc_str policy = field(tc_reply_str(reply), "maxmemory_policy");
    if (tc_str_is(policy, "noeviction"))
        return;
    h->warned = true;
    if (policy.n == 0)
        tc_log0(TC_LOG_WARN, "Redis does not tell its maxmemory-policy: make sure that it is noeviction");
    else
        tc_log(TC_LOG_WARN, "Redis evicts keys when its memory is full: live logs will be lost; set noeviction",
               TC_LSTR("maxmemory_policy", policy), TC_LSTR("maxmemory", field(tc_reply_str(reply), "maxmemory")));
}

void eviction_look(struct hub *h) {
    struct tc_str none = {"", 0};
    h->eviction.count = 0; /* it may be another server */
    /* Not sent because the link is down again: asked when it is up. */
    if (tc_redis_command(h->redis, none, on_memory, h, "INFO memory") == 0)
        h->eviction.asking = tc_redis_command(h->redis, none, on_stats, h, "INFO stats") == 0;
}
