/* A loop of the broker. Closing: bye to streams -> server -> hub -> Redis -> timers; each when the last is done. */
#include "ops/loop.h"

#include "base/clock.h"
#include "base/log.h"
#include "feed/sub.h"
#include "http/batch.h"
#include "ops/memory.h"
#include "ops/metrics.h"
#include "tokencast/error.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRAIN_CHECK_MS 20
#define DRAIN_RETRY_MS 1000 /* what `bye` asks clients to wait, jittered */
#define MEMORY_LOOK_MS 250
#define TRIM_LOOKS     20 /* full for so many looks: give freed memory back, and again after as many */

static void on_latency(void *arg, int64_t us) {
    metrics_latency(arg, us);
}

static void on_async(uv_async_t *async) {
    struct loop *l = async->data;
    struct tc_list work;
    uv_mutex_lock(&l->lock);
    tc_list_move(&l->tasks, &work);
    uv_mutex_unlock(&l->lock);
    while (!tc_list_empty(&work)) {
        struct task *t = TC_CONTAINER_OF(work.next, struct task, node);
        tc_list_remove(&t->node);
        t->run(t, l);
    }
}

void loop_post(struct loop *l, struct task *t) {
    uv_mutex_lock(&l->lock);
    tc_list_add_tail(&l->tasks, &t->node);
    uv_mutex_unlock(&l->lock);
    uv_async_send(&l->async);
}

static void on_redis_up(void *arg) {
    struct loop *l = arg;
    atomic_store(&l->redis_whole, true);
    tc_log(TC_LOG_INFO, "redis is up", TC_LS("loop", l->instance));
}

static void on_redis_down(void *arg, int err) {
    struct loop *l = arg;
    bool usable = tc_redis_is_usable(l->redis);
    atomic_store(&l->redis_whole, false);
    tc_log(TC_LOG_WARN, usable ? "a part of redis is down" : "redis is down", TC_LS("loop", l->instance), TC_LERR(err));
}

static void on_redis_change(void *arg) {
    struct loop *l = arg;
    bool usable = tc_redis_is_usable(l->redis);
    bool before = atomic_exchange(&l->redis_usable, usable);
    if (usable && !before && l->on_redis != NULL)
        l->on_redis(l->arg);
}

static int start_redis(struct loop *l) {
    const struct broker_options *o = l->opts;
    struct tc_redis_options r = {.url = o->redis,
                                 .password_file = o->redis_password_file,
                                 .ca_file = o->redis_ca_file,
                                 .cert_file = o->redis_cert_file,
                                 .key_file = o->redis_key_file,
                                 .tls_insecure = o->redis_tls_insecure,
                                 .client_name = l->instance,
                                 .pubsub = true};
    int err = tc_redis_create(&l->redis, &l->uv, &r);
    if (err != 0)
        return err;
    l->watch =
        (struct tc_redis_watch){.on_up = on_redis_up, .on_down = on_redis_down, .on_change = on_redis_change, .arg = l};
    tc_redis_watch_add(l->redis, &l->watch);
    return 0;
}

/* Without io_uring everything works as well, for a little more time. */
static void start_batch(struct loop *l) {
    if (strcmp(l->opts->io, "uring") == 0 &&
        http_batch_create(&l->batch, (size_t)l->opts->max_connections, sub_unsent) != 0)
        tc_log(TC_LOG_WARN, "streams are sent without io_uring", TC_LS("loop", l->instance));
}

static int start_hub(struct loop *l, unsigned number) {
    const struct broker_options *o = l->opts;
    start_batch(l);
    struct hub_options h = {.prefix = o->prefix,
                            .queue = o->queue,
                            .lag_events = o->lag_events,
                            .lag_bytes = o->lag_bytes,
                            .heartbeat_ms = o->heartbeat,
                            .linger_ms = o->linger,
                            .lease_ms = o->lease_ms,
                            .sweep_ms = o->sweep,
                            .max_feeds = o->max_generations,
                            .instance = l->instance,
                            .max_age_ms = o->max_connection_age,
                            .batch = l->batch,
                            .warns = number == 0};
    int err = hub_init(&l->hub, &l->uv, l->redis, &h);
    l->hub.on_latency = on_latency;
    l->hub.arg = l->metrics;
    return err;
}

static int read_secret(struct loop *l) {
    unsigned char secret[32];
    if (l->opts->id_secret_file == NULL)
        return 0;
    int fd = open(l->opts->id_secret_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, secret, sizeof secret) : -1;
    if (fd >= 0)
        close(fd);
    if (n != (ssize_t)sizeof secret) {
        tc_log(TC_LOG_ERROR, "id-secret-file cannot be read or has less than 32 bytes",
               TC_LS("file", l->opts->id_secret_file));
        return TC_EINVAL;
    }
    api_set_secret(&l->api, secret, sizeof secret);
    return 0;
}

static int start_server(struct loop *l, const char *listen) {
    const struct broker_options *o = l->opts;
    struct http_options h = {.listen = listen,
                             .reuse_port = o->loops != 1,
                             .max_connections = o->max_connections,
                             .max_per_address = o->max_per_address,
                             .max_header_bytes = o->max_header_bytes,
                             .max_body_bytes = o->max_body_bytes,
                             .header_timeout_ms = o->header_timeout,
                             .body_timeout_ms = o->body_timeout,
                             .keepalive_ms = o->keepalive,
                             .user_timeout_ms = o->user_timeout,
                             .notsent_lowat = 16384,
                             .batch = l->batch};
    return http_server_create(&l->server, &l->uv, &h, api_handle, &l->api);
}

static void on_memory(uv_timer_t *timer) {
    struct loop *l = timer->data;
    uint64_t resident = memory_resident(), max = (uint64_t)l->opts->max_memory;
    bool full = !memory_has_room(resident, max, l->hub.full);
    if (full != l->hub.full) {
        tc_log(TC_LOG_WARN, full ? "memory is full: no more streams are taken" : "there is memory again",
               TC_LS("loop", l->instance), TC_LI("resident", resident), TC_LI("max", max));
        l->hub.full = full;
        l->trim_in = 0;
        http_server_set_full(l->server, full);
    }
    if (full && l->trim_in-- == 0) {
        memory_give_back();
        l->trim_in = TRIM_LOOKS;
    }
}

int loop_init(struct loop *l, const struct broker_options *opts, unsigned number, const char *listen) {
    char host[20] = "broker";
    unsigned char tail[4];
    *l = (struct loop){.opts = opts};
    tc_random(tail, sizeof tail);
    gethostname(host, sizeof host - 1);
    snprintf(l->instance, sizeof l->instance, "%s-%02x%02x%02x%02x-%u", host, tail[0], tail[1], tail[2], tail[3],
             number);
    tc_list_init(&l->tasks);
    l->metrics = metrics_create();
    if (l->metrics == NULL || uv_loop_init(&l->uv) != 0 || uv_mutex_init(&l->lock) != 0)
        abort(); /* at startup there is nothing to save */
    if (uv_timer_init(&l->uv, &l->drain) != 0 || uv_timer_init(&l->uv, &l->memory) != 0 ||
        uv_async_init(&l->uv, &l->async, on_async) != 0)
        abort();
    l->drain.data = l->memory.data = l->async.data = l;
    int err = cors_parse(&l->cors, opts->cors_origins);
    if (err == 0)
        err = start_redis(l);
    if (err == 0)
        err = start_hub(l, number);
    struct api_options a = {.prefix = opts->prefix,
                            .queue = opts->queue,
                            .retention_ms = opts->retention,
                            .max_log_bytes = opts->max_snapshot_bytes,
                            .max_wait_ms = opts->max_wait,
                            .page = opts->page};
    if (err == 0)
        api_init(&l->api, &l->uv, &l->hub, &l->cors, &a);
    if (err == 0)
        err = read_secret(l);
    if (err == 0)
        err = start_server(l, listen);
    if (err == 0 && opts->max_memory > 0)
        uv_timer_start(&l->memory, on_memory, 0, MEMORY_LOOK_MS);
    return err;
}

static void on_redis_closed(void *arg) {
    struct loop *l = arg;
    l->phase = LOOP_CLOSED;
    uv_close((uv_handle_t *)&l->drain, NULL);
    uv_close((uv_handle_t *)&l->memory, NULL);
    if (l->on_closed != NULL)
        l->on_closed(l->arg);
}

void loop_release(struct loop *l) {
    if (!l->released)
        uv_close((uv_handle_t *)&l->async, NULL);
    l->released = true;
}

static void on_hub_closed(void *arg) {
    struct loop *l = arg;
    api_fini(&l->api);
    tc_redis_watch_remove(l->redis, &l->watch);
    tc_redis_close(l->redis, on_redis_closed, l);
}

static void on_server_closed(void *arg) {
    struct loop *l = arg;
    hub_close(&l->hub, on_hub_closed, l);
}

static void close_all(struct loop *l) {
    if (l->phase >= LOOP_CLOSING)
        return;
    l->phase = LOOP_CLOSING;
    uv_timer_stop(&l->drain);
    uv_timer_stop(&l->memory);
    http_server_close(l->server, on_server_closed, l);
}

static void drain(struct loop *l) {
    l->phase = LOOP_DRAINING;
    l->drain_until_ms = uv_now(&l->uv) + (uint64_t)l->opts->drain_window + (uint64_t)l->opts->drain;
    http_server_stop_accepting(l->server);
    drain_begin(&l->hub, (uint64_t)l->opts->drain_window, DRAIN_RETRY_MS);
}

static void on_drain(uv_timer_t *timer) {
    struct loop *l = timer->data;
    if (l->phase == LOOP_LEAVING) {
        if (uv_now(&l->uv) < l->leave_ms)
            return;
        drain(l);
    }
    drain_tick(&l->hub);
    bool idle = l->hub.stats.streams == 0 && http_server_stats(l->server)->answering == 0;
    if (idle || uv_now(&l->uv) >= l->drain_until_ms)
        close_all(l);
}

void loop_stop(struct loop *l) {
    if (l->phase != LOOP_RUNNING) {
        close_all(l);
        return;
    }
    l->phase = LOOP_LEAVING;
    l->leave_ms = uv_now(&l->uv) + (uint64_t)l->opts->drain_delay;
    http_server_leave(l->server);
    if (l->opts->drain_delay == 0)
        drain(l);
    uv_timer_start(&l->drain, on_drain, DRAIN_CHECK_MS, DRAIN_CHECK_MS);
}

void loop_fini(struct loop *l) {
    int busy = uv_loop_close(&l->uv);
    assert(busy == 0);
    (void)busy;
    http_batch_destroy(l->batch);
    tc_metrics_destroy(l->metrics);
    uv_mutex_destroy(&l->lock);
}
