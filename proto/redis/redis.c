/* The Redis of one loop (see redis.h): which connection a key goes to, and whether all of them are usable. Loop
 * thread; owned by whoever created it.
 *
 * tc_core_route() is the one place that knows how many servers there are. Subscriptions are sent once commands are
 * possible, so that on_ready can read the log at once. */
#include "redis/redis.h"

#include "redis/call.h"
#include "redis/core.h"
#include "redis/link.h"
#include "redis/words.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define SETTLE_MS 2000 /* after the first map of a Cluster: living masters are up by then */

struct tc_node *tc_core_route(const struct tc_redis *r, struct tc_str key) {
    if (!r->cluster)
        return r->nodes[0];
    uint8_t owner = r->cluster->owner[tc_slot_of(key)];
    return owner == TC_NO_NODE ? NULL : r->nodes[owner];
}

/* The node that takes commands with this key now, or NULL. */
static struct tc_node *route(const struct tc_redis *r, struct tc_str key) {
    struct tc_node *n = r->closing ? NULL : tc_core_route(r, key);
    return n && tc_conn_is_up(&n->commands) ? n : NULL;
}

/* ---- up and down ---- */

bool tc_redis_is_up(const struct tc_redis *r) {
    bool up = !r->closing && r->complete;
    for (size_t i = 0; up && i < TC_NODES_MAX; i++)
        up = !r->nodes[i] || tc_node_is_up(r->nodes[i]);
    return up;
}

bool tc_redis_reaches(const struct tc_redis *r, struct tc_str key) {
    const struct tc_node *n = r->closing ? NULL : tc_core_route(r, key);
    return n && tc_node_is_up(n);
}

bool tc_redis_is_usable(const struct tc_redis *r) {
    bool some = false;
    for (size_t i = 0; !some && i < TC_NODES_MAX; i++)
        some = r->nodes[i] && tc_node_is_up(r->nodes[i]);
    return some && r->settled && !r->closing;
}

static void tell(struct tc_redis *r, int err) {
    bool up = r->up;
    for (struct tc_redis_watch *w = r->watches; w; w = r->next_watch) {
        r->next_watch = w->next;
        if (up && w->on_up)
            w->on_up(w->arg);
        else if (!up && w->on_down)
            w->on_down(w->arg, err);
    }
}

/* A server that is away must not keep a program from starting for ever. */
static void settle(struct tc_redis *r) {
    const struct tc_cluster *c = r->cluster;
    bool late = c && c->known_ms > 0 && uv_now(r->loop) - c->known_ms >= SETTLE_MS;
    r->settled = r->settled || late || tc_redis_is_up(r);
}

static bool has_changed(struct tc_redis *r) {
    bool changed = tc_redis_is_usable(r) != r->usable;
    for (size_t i = 0; i < TC_NODES_MAX; i++) {
        struct tc_node *n = r->nodes[i];
        if (!n || n->told_up == tc_node_is_up(n))
            continue;
        n->told_up = !n->told_up;
        changed = true;
    }
    return changed;
}

void tc_core_moved(struct tc_redis *r) {
    r->usable = tc_redis_is_usable(r);
    for (struct tc_redis_watch *w = r->closing ? NULL : r->watches; w; w = r->next_watch) {
        r->next_watch = w->next;
        if (w->on_change)
            w->on_change(w->arg);
    }
}

void tc_core_notify(struct tc_redis *r, int err) {
    settle(r);
    bool up = tc_redis_is_up(r), was_up = r->up, changed = has_changed(r);
    if (r->closing || (!changed && up == was_up))
        return;
    r->up = up;
    if (!up && r->scout)
        tc_scout_ask(r->scout);
    if (up != was_up)
        tell(r, err);
    tc_core_moved(r);
}

void tc_core_lost(struct tc_redis *r, int err) {
    if (r->cluster && !r->up && !r->closing)
        tell(r, err); /* another node than the one that they know of */
    tc_core_notify(r, err);
}

void tc_redis_watch_add(struct tc_redis *r, struct tc_redis_watch *w) {
    DL_PREPEND(r->watches, w); /* at the front: a walk that is under way does not meet it */
}

void tc_redis_watch_remove(struct tc_redis *r, struct tc_redis_watch *w) {
    if (r->closing || !w->prev)
        return; /* close has taken all of them out; or it never was in */
    if (r->next_watch == w)
        r->next_watch = w->next;
    DL_DELETE(r->watches, w);
    w->prev = w->next = NULL;
}

/* ---- life ---- */

static struct tc_pubsub_link *home_of(void *arg, struct tc_str channel) {
    struct tc_node *n = tc_core_route(arg, channel);
    return n ? &n->pubsub : NULL;
}

static void on_homeless(void *arg) {
    const struct tc_redis *r = arg;
    tc_scout_ask(r->scout);
}

static bool is_well(void *arg) {
    return tc_redis_is_up(arg);
}

int tc_core_send_scout(struct tc_redis *r, const struct tc_scout_events *ev) {
    struct tc_scout_events mine = *ev;
    mine.is_well = is_well;
    mine.arg = r;
    r->scout = malloc(sizeof(*r->scout));
    if (!r->scout)
        return TC_ENOMEM;
    tc_scout_start(r->scout, r->loop, &r->link, &mine);
    r->open++;
    return 0;
}

static int start(struct tc_redis *r) {
    switch (r->link.url.kind) {
    case TC_REDIS_SENTINEL:
        return tc_sentinel_start(r);
    case TC_REDIS_CLUSTER:
        return tc_cluster_start(r);
    default:
        r->complete = true;
        int index = tc_node_add(r, &r->link.url.at, TC_PEER_SERVER);
        return index < 0 ? index : 0;
    }
}

static void destroy(struct tc_redis *r) {
    tc_pubsub_fini(&r->pubsub);
    tc_link_fini(&r->link);
    free(r->scout);
    free(r->cluster);
    free(r);
}

int tc_redis_create(struct tc_redis **out, uv_loop_t *loop, const struct tc_redis_options *opts) {
    assert(opts->url);
    struct tc_redis *r = calloc(1, sizeof(*r));
    if (!r)
        return TC_ENOMEM;
    int rc = tc_link_init(&r->link, opts);
    if (rc) {
        free(r);
        return rc;
    }
    r->loop = loop;
    r->has_pubsub = opts->pubsub;
    r->pubsub = (struct tc_pubsub){.stats = &r->link.stats,
                                   .sharded = r->link.url.kind == TC_REDIS_CLUSTER,
                                   .home = home_of,
                                   .on_homeless = on_homeless,
                                   .arg = r};
    rc = start(r);
    if (rc) {
        destroy(r);
        return rc;
    }
    *out = r;
    return 0;
}

void tc_core_part_closed(void *arg) {
    struct tc_redis *r = arg;
    if (--r->open > 0 || !r->closing)
        return;
    void (*cb)(void *) = r->close_cb;
    void *cb_arg = r->close_arg;
    destroy(r);
    if (cb)
        cb(cb_arg);
}

void tc_redis_close(struct tc_redis *r, void (*cb)(void *arg), void *arg) {
    assert(!r->closing);
    r->closing = true;
    r->close_cb = cb;
    r->close_arg = arg;
    r->watches = NULL;
    r->next_watch = NULL;
    tc_pubsub_detach(&r->pubsub);
    for (int i = 0; i < TC_NODES_MAX; i++)
        if (r->nodes[i])
            tc_node_close(r, i);
    if (r->scout)
        tc_scout_close(r->scout, tc_core_part_closed);
}

const struct tc_redis_stats *tc_redis_stats(const struct tc_redis *r) {
    return &r->link.stats;
}

/* ---- commands and subscriptions ---- */

int tc_redis_command_argv(struct tc_redis *r, struct tc_str key, tc_redis_reply_cb cb, void *arg, int argc,
                          const char **argv, const size_t *argvlen) {
    struct tc_node *n = route(r, key);
    if (!n)
        return TC_ELINK;
    if (!r->cluster)
        return tc_conn_send(&n->commands, cb, arg, argc, argv, argvlen);
    char *bytes = NULL;
    int len = redisFormatCommandArgv(&bytes, argc, argv, argvlen);
    if (len < 0)
        return TC_ENOMEM;
    int rc = tc_call_send(n, cb, arg, bytes, (size_t)len);
    redisFreeCommand(bytes);
    return rc;
}

int tc_redis_command(struct tc_redis *r, struct tc_str key, tc_redis_reply_cb cb, void *arg, const char *format, ...) {
    struct tc_words w;
    va_list ap;
    va_start(ap, format);
    int rc = tc_words(&w, format, ap);
    va_end(ap);
    return rc ? rc : tc_redis_command_argv(r, key, cb, arg, w.argc, w.argv, w.len);
}

int tc_redis_agree(struct tc_redis *r, tc_redis_reply_cb cb, void *arg, const char *key, const void *offer, size_t n) {
    struct tc_str route = tc_str_from(key);
    int rc = tc_redis_command(r, route, NULL, NULL, "SET %s %b NX", key, offer, n);
    return rc == 0 ? tc_redis_command(r, route, cb, arg, "GET %s", key) : rc;
}

int tc_redis_publish(struct tc_redis *r, struct tc_str route, const char *channel, struct tc_str payload) {
    const char *argv[] = {r->cluster ? "SPUBLISH" : "PUBLISH", channel, payload.p ? payload.p : ""};
    const size_t len[] = {strlen(argv[0]), strlen(channel), payload.n};
    return tc_redis_command_argv(r, route, NULL, NULL, 3, argv, len);
}

int tc_redis_subscribe(struct tc_redis *r, struct tc_redis_sub *sub, const char *channel) {
    assert(r->has_pubsub);
    return r->closing ? TC_ECLOSED : tc_pubsub_add(&r->pubsub, sub, channel);
}

void tc_redis_unsubscribe(struct tc_redis *r, struct tc_redis_sub *sub) {
    if (!r->closing) /* close has taken all of them out */
        tc_pubsub_remove(&r->pubsub, sub);
}
