/* The master that the sentinels name (part of struct tc_redis, see core.h). Asked every second even while all is well:
 * a master that was cut off from its sentinels lives on as if nothing had happened. Loop thread. */
#include "base/log.h"
#include "redis/core.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <string.h>

#define CALM_MS 1000

static const struct tc_endpoint *server(void *arg, unsigned nth) {
    const struct tc_redis *r = arg;
    return &r->link.url.seeds[nth % r->link.url.seed_count];
}

/* [host, port]; nil: no such master. */
static bool read_master(struct tc_endpoint *at, const redisReply *reply) {
    int64_t port;
    memset(at, 0, sizeof(*at));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 || !tc_reply_int(reply->element[1], &port) ||
        port < 1 || port > 65535)
        return false;
    struct tc_str host = tc_reply_str(reply->element[0]);
    if (host.n == 0 || host.n >= sizeof(at->host) || memchr(host.p, '\0', host.n))
        return false;
    memcpy(at->host, host.p, host.n);
    at->port = (int)port;
    return true;
}

static void change_master(struct tc_redis *r, const struct tc_endpoint *at) {
    char server_name[300];
    tc_endpoint_format(at, server_name, sizeof(server_name));
    tc_log(TC_LOG_INFO, "the sentinels name a master", TC_LS("server", server_name));
    r->complete = false;
    tc_confirm_doubt(r);
    if (r->nodes[0])
        tc_node_drop(r, 0);
    if (r->closing)
        return;
    r->complete = tc_node_add(r, at, TC_PEER_MASTER) == 0; /* without memory the next answer tries again */
    tc_pubsub_rehome(&r->pubsub);
}

static bool on_answer(void *arg, const redisReply *reply) {
    struct tc_redis *r = arg;
    struct tc_endpoint at;
    if (!read_master(&at, reply))
        return false;
    if (!r->nodes[0] || !tc_endpoint_eq(&r->nodes[0]->at, &at))
        change_master(r, &at);
    return true;
}

int tc_sentinel_start(struct tc_redis *r) {
    const struct tc_scout_events ev = {.peer = TC_PEER_SENTINEL,
                                       .argc = 3,
                                       .argv = {"SENTINEL", "get-master-addr-by-name", r->link.url.master},
                                       .calm_ms = CALM_MS,
                                       .server = server,
                                       .on_answer = on_answer};
    return tc_core_send_scout(r, &ev);
}
