/* The Redis of one loop (see redis.h): which connection a key goes to, and whether all of them are usable. Loop
 * thread; owned by whoever created it.
 *
 * route() is the one place that knows how many servers there are. Subscriptions are sent once commands are possible,
 * so that on_ready can read the log at once. */
#include "redis/redis.h"

#include "redis/conn.h"
#include "redis/link.h"
#include "redis/pubsub.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <utlist.h>

struct tc_redis {
    struct tc_link link;
    struct tc_conn commands;
    struct tc_pubsub pubsub;
    bool has_pubsub;
    bool up; /* what the watches were last told */
    bool closing;
    unsigned open;                     /* connections whose close callback has not run */
    struct tc_redis_watch *watches;    /* the watchers' memory */
    struct tc_redis_watch *next_watch; /* a notification's place in the list; a removal moves it on */
    void (*close_cb)(void *arg);
    void *close_arg;
};

static struct tc_conn *route(struct tc_redis *r, struct tc_str key) {
    (void)key; /* one server: every key is there */
    return &r->commands;
}

/* ---- up and down ---- */

bool tc_redis_is_up(const struct tc_redis *r) {
    return !r->closing && tc_conn_is_up(&r->commands) && (!r->has_pubsub || r->pubsub.ready);
}

static void notify(struct tc_redis *r, int err) {
    bool up = tc_redis_is_up(r);
    if (r->closing || up == r->up)
        return;
    r->up = up;
    for (struct tc_redis_watch *w = r->watches; w; w = r->next_watch) {
        r->next_watch = w->next;
        if (up && w->on_up)
            w->on_up(w->arg);
        else if (!up && w->on_down)
            w->on_down(w->arg, err);
    }
}

static void on_commands_up(void *arg) {
    struct tc_redis *r = arg;
    if (r->has_pubsub)
        tc_pubsub_allow(&r->pubsub);
    notify(r, 0);
}

static void on_commands_down(void *arg, int err) {
    struct tc_redis *r = arg;
    if (r->has_pubsub)
        tc_pubsub_disallow(&r->pubsub);
    notify(r, err);
}

static void on_pubsub_change(void *arg, int err) {
    notify(arg, err);
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
    const struct tc_conn_events ev = {.on_up = on_commands_up, .on_down = on_commands_down, .arg = r};
    tc_conn_start(&r->commands, loop, &r->link, &r->link.url.at, "commands", &ev);
    r->open = 1;
    r->has_pubsub = opts->pubsub;
    if (r->has_pubsub) {
        tc_pubsub_start(&r->pubsub, loop, &r->link, on_pubsub_change, r);
        r->open++;
    }
    *out = r;
    return 0;
}

static void on_part_closed(void *arg) {
    struct tc_redis *r = arg;
    if (--r->open > 0)
        return;
    void (*cb)(void *) = r->close_cb;
    void *cb_arg = r->close_arg;
    tc_link_fini(&r->link);
    free(r);
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
    if (r->has_pubsub)
        tc_pubsub_close(&r->pubsub, on_part_closed);
    tc_conn_close(&r->commands, on_part_closed);
}

const struct tc_redis_stats *tc_redis_stats(const struct tc_redis *r) {
    return &r->link.stats;
}

/* ---- commands and subscriptions ---- */

int tc_redis_command_argv(struct tc_redis *r, struct tc_str key, tc_redis_reply_cb cb, void *arg, int argc,
                          const char **argv, const size_t *argvlen) {
    struct tc_conn *c = route(r, key);
    return tc_conn_is_up(c) ? tc_conn_send(c, cb, arg, argc, argv, argvlen) : TC_ELINK;
}

int tc_redis_command(struct tc_redis *r, struct tc_str key, tc_redis_reply_cb cb, void *arg, const char *format, ...) {
    struct tc_conn *c = route(r, key);
    if (!tc_conn_is_up(c))
        return TC_ELINK;
    char *bytes = NULL;
    va_list ap;
    va_start(ap, format);
    int n = redisvFormatCommand(&bytes, format, ap);
    va_end(ap);
    if (n < 0)
        return n == -1 ? TC_ENOMEM : TC_EINVAL; /* a format that hiredis does not know is the caller's error */
    int rc = tc_conn_send_bytes(c, cb, arg, bytes, (size_t)n);
    redisFreeCommand(bytes);
    return rc;
}

int tc_redis_subscribe(struct tc_redis *r, struct tc_redis_sub *sub, const char *channel) {
    assert(r->has_pubsub);
    return r->closing ? TC_ECLOSED : tc_pubsub_add(&r->pubsub, sub, channel);
}

void tc_redis_unsubscribe(struct tc_redis *r, struct tc_redis_sub *sub) {
    if (!r->closing) /* close has taken all of them out */
        tc_pubsub_remove(&r->pubsub, sub);
}
