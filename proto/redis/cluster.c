/* The nodes of a Cluster and their slots (part of struct tc_redis, see core.h). Any node tells the map; it is asked for
 * now and then, and at once when an answer or a lost link shows that it is wrong. Loop thread.
 *
 * A master that owns no slot any more was demoted, by a failover that may have lost the end of some logs, or is being
 * taken out. Both count as a lost node, so that every writer looks at its log before it writes to the new owner. A
 * slot that moved between masters has lost nothing, and nobody is told. */
#include "base/log.h"
#include "redis/core.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define CALM_MS 5000

static const struct tc_endpoint *server(void *arg, unsigned nth) {
    const struct tc_redis *r = arg;
    const struct tc_redis_url *url = &r->link.url;
    size_t known = r->cluster->map.count;
    size_t i = nth % (url->seed_count + known);
    return i < url->seed_count ? &url->seeds[i] : &r->cluster->map.nodes[i - url->seed_count];
}

static uint8_t node_for(struct tc_redis *r, const struct tc_endpoint *at) {
    int index = tc_node_find(r, at);
    if (index < 0)
        index = tc_node_add(r, at, TC_PEER_SERVER);
    return index < 0 ? TC_NO_NODE : (uint8_t)index; /* without memory or room the next map tries again */
}

/* The map in terms of our nodes; true if it is another than before. */
static bool take_owners(struct tc_redis *r, bool *wanted) {
    struct tc_cluster *c = r->cluster;
    uint8_t index[TC_NODES_MAX];
    for (size_t i = 0; i < c->map.count; i++) {
        index[i] = node_for(r, &c->map.nodes[i]);
        if (index[i] != TC_NO_NODE)
            wanted[index[i]] = true;
    }
    r->complete = true;
    for (size_t slot = 0; slot < TC_SLOTS; slot++) {
        uint8_t owner = c->map.owner[slot];
        c->next[slot] = owner == TC_NO_NODE ? TC_NO_NODE : index[owner];
        r->complete = r->complete && c->next[slot] != TC_NO_NODE;
    }
    if (c->known_ms == 0)
        c->known_ms = uv_now(r->loop);
    bool changed = memcmp(c->owner, c->next, TC_SLOTS) != 0;
    memcpy(c->owner, c->next, TC_SLOTS);
    return changed;
}

static void drop_unwanted(struct tc_redis *r, const bool *wanted) {
    for (int i = 0; i < TC_NODES_MAX && !r->closing; i++)
        if (r->nodes[i] && !wanted[i])
            tc_node_drop(r, i);
}

static void retry_subscriptions(struct tc_redis *r) {
    for (int i = 0; r->has_pubsub && i < TC_NODES_MAX; i++)
        if (r->nodes[i])
            tc_pubsub_retry(&r->nodes[i]->pubsub);
}

static bool on_answer(void *arg, const redisReply *reply) {
    struct tc_redis *r = arg;
    bool wanted[TC_NODES_MAX] = {false};
    if (tc_slot_map_read(&r->cluster->map, reply, &r->scout->at) != 0 || r->cluster->map.count == 0)
        return false;
    bool changed = take_owners(r, wanted);
    if (changed)
        tc_log(TC_LOG_INFO, "the Cluster's slots", TC_LI("masters", r->cluster->map.count),
               TC_LS("covered", r->complete ? "all" : "not all"));
    if (changed || r->pubsub.homeless > 0)
        tc_pubsub_rehome(&r->pubsub);
    drop_unwanted(r, wanted);
    if (r->closing)
        return true;
    retry_subscriptions(r);
    tc_core_notify(r, TC_ELINK);
    if (changed)
        tc_core_moved(r);
    return true;
}

int tc_cluster_start(struct tc_redis *r) {
    const struct tc_scout_events ev = {.peer = TC_PEER_SERVER,
                                       .argc = 2,
                                       .argv = {"CLUSTER", "SLOTS"},
                                       .calm_ms = CALM_MS,
                                       .server = server,
                                       .on_answer = on_answer};
    r->cluster = calloc(1, sizeof(*r->cluster));
    if (!r->cluster)
        return TC_ENOMEM;
    memset(r->cluster->owner, TC_NO_NODE, TC_SLOTS);
    return tc_core_send_scout(r, &ev); /* if it fails, whoever called frees the map */
}
