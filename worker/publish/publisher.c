/* The writers of one loop by generation, and their common link: a change of the link is told to each of them. Loop
 * thread; owned by the program. */
#include "publish/publisher.h"

#include "publish/writer.h"

#include <stdio.h>
#include <stdlib.h>

static void on_redis_up(void *arg) {
    struct tc_publisher *p = arg;
    struct tc_writer *w, *next;
    HASH_ITER(hh, p->writers, w, next) {
        writer_link_up(w);
    }
}

static void on_redis_down(void *arg, int err) {
    struct tc_publisher *p = arg;
    struct tc_writer *w, *next;
    (void)err;
    HASH_ITER(hh, p->writers, w, next) {
        writer_link_down(w);
    }
}

static void fill_defaults(struct tc_publisher_options *o) {
    if (o->retention_ms <= 0)
        o->retention_ms = 3600000;
    if (o->flush_tokens <= 0)
        o->flush_tokens = 1;
    if (o->flush_ms <= 0)
        o->flush_ms = 20;
    if (o->window_bytes == 0)
        o->window_bytes = 1024U * 1024U;
    if (o->buffer_bytes == 0)
        o->buffer_bytes = 256U * 1024U;
    if (o->max_log_bytes == 0)
        o->max_log_bytes = 64U * 1024U * 1024U;
    if (o->patience_ms <= 0)
        o->patience_ms = 60000;
}

int tc_publisher_create(struct tc_publisher **out, uv_loop_t *loop, struct tc_redis *redis,
                        const struct tc_publisher_options *opts) {
    static const struct tc_publisher_options none;
    const char *prefix = opts && opts->prefix ? opts->prefix : "tc:";
    if (!tc_prefix_valid(tc_str_from(prefix)))
        return TC_EINVAL;
    struct tc_publisher *p = calloc(1, sizeof(*p));
    if (!p)
        return TC_ENOMEM;
    p->loop = loop;
    p->redis = redis;
    p->opts = opts ? *opts : none;
    fill_defaults(&p->opts);
    snprintf(p->prefix, sizeof(p->prefix), "%s", prefix);
    snprintf(p->owner, sizeof(p->owner), "%s", p->opts.owner ? p->opts.owner : "");
    p->opts.prefix = p->prefix;
    p->opts.owner = p->owner;
    tc_buf_init(&p->scratch, TC_EVENT_MAX_BYTES + TC_POSITION_MAX);
    p->watch.on_up = on_redis_up;
    p->watch.on_down = on_redis_down;
    p->watch.arg = p;
    tc_redis_watch_add(redis, &p->watch);
    *out = p;
    return 0;
}

void tc_publisher_destroy(struct tc_publisher *p) {
    if (!p)
        return;
    tc_redis_watch_remove(p->redis, &p->watch);
    tc_buf_fini(&p->scratch);
    free(p);
}

const struct tc_publisher_stats *tc_publisher_stats(const struct tc_publisher *p) {
    return &p->stats;
}

int publisher_add(struct tc_publisher *p, struct tc_writer *w) {
    struct tc_writer *other = NULL;
    HASH_FIND_STR(p->writers, w->id, other);
    if (other)
        return TC_EEXISTS;
    HASH_ADD_STR(p->writers, id, w);
    /* uthash leaves hh.tbl NULL when it had no memory for the table. */
    if (!w->hh.tbl)
        return TC_ENOMEM;
    w->listed = true;
    return 0;
}

void publisher_remove(struct tc_publisher *p, struct tc_writer *w) {
    if (!w->listed)
        return;
    w->listed = false;
    HASH_DEL(p->writers, w);
}
