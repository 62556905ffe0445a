/* Servers (see node.h). Loop thread. */
#include "redis/node.h"

#include "redis/core.h"
#include "tokencast/error.h"

#include <stdlib.h>

static void on_commands_up(void *arg) {
    struct tc_node *n = arg;
    if (n->r->has_pubsub)
        tc_pubsub_allow(&n->pubsub);
    tc_core_notify(n->r, 0);
}

static void on_commands_down(void *arg, int err) {
    struct tc_node *n = arg;
    n->in_multi = n->multi_failed = false;
    if (n->r->has_pubsub)
        tc_pubsub_disallow(&n->pubsub);
    tc_core_lost(n->r, err);
}

static void on_pubsub_change(void *arg, int err) {
    struct tc_node *n = arg;
    tc_core_notify(n->r, err);
}

bool tc_node_is_up(const struct tc_node *n) {
    return tc_conn_is_up(&n->commands) && (!n->r->has_pubsub || n->pubsub.ready);
}

int tc_node_find(const struct tc_redis *r, const struct tc_endpoint *at) {
    for (int i = 0; i < TC_NODES_MAX; i++)
        if (r->nodes[i] && tc_endpoint_eq(&r->nodes[i]->at, at))
            return i;
    return -1;
}

int tc_node_add(struct tc_redis *r, const struct tc_endpoint *at, enum tc_conn_peer peer) {
    int index = 0;
    while (index < TC_NODES_MAX && r->nodes[index])
        index++;
    if (index == TC_NODES_MAX)
        return TC_EFULL;
    struct tc_node *n = calloc(1, sizeof(*n));
    if (!n)
        return TC_ENOMEM;
    n->r = r;
    n->at = *at;
    const struct tc_conn_events ev = {.peer = peer, .on_up = on_commands_up, .on_down = on_commands_down, .arg = n};
    tc_conn_start(&n->commands, r->loop, &r->link, &n->at, "commands", &ev);
    n->open = 1;
    if (r->has_pubsub) {
        tc_pubsub_link_start(&n->pubsub, &r->pubsub, r->loop, &r->link, &n->at, peer, on_pubsub_change, n);
        n->open++;
    }
    r->nodes[index] = n;
    r->open++;
    return index;
}

static void on_part_closed(void *arg) {
    struct tc_node *n = arg;
    if (--n->open > 0)
        return;
    struct tc_redis *r = n->r;
    free(n);
    tc_core_part_closed(r);
}

void tc_node_close(struct tc_redis *r, int index) {
    struct tc_node *n = r->nodes[index];
    r->nodes[index] = NULL;
    if (r->has_pubsub)
        tc_pubsub_link_close(&n->pubsub, on_part_closed);
    tc_conn_close(&n->commands, on_part_closed);
}

void tc_node_drop(struct tc_redis *r, int index) {
    /* Lost while it still counts, so that the watches are told. */
    tc_conn_lose(&r->nodes[index]->commands, TC_ELINK, "the server is not the owner any more");
    if (!r->closing)
        tc_node_close(r, index);
}
