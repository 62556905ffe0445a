#include "feed_fixture.h"

#include "tokencast/event.h"

#include <string.h>

static void open_broker(struct feeds *w, int which) {
    struct party *p = &w->brokers[which];
    struct tc_redis_options options = {.url = w->server.url, .pubsub = true, .backoff_min_ms = 2, .backoff_max_ms = 10};
    assert_int_equal(tc_redis_create(&p->redis, &w->loop, &options), 0);
    struct hub_options opts = {.prefix = "tc:",
                               .lag_events = 1024,
                               .lag_bytes = 262144,
                               .heartbeat_ms = 15000,
                               .linger_ms = 60000,
                               .lease_ms = FEED_LEASE_MS,
                               .sweep_ms = 3600000, /* the tests sweep */
                               .max_feeds = 1000,
                               .instance = which == 0 ? "first" : "second"};
    assert_int_equal(hub_init(&p->hub, &w->loop, p->redis, &opts), 0);
    redis_probe_await_up(&w->loop, p->redis);
    p->hub.opts.sweep_ms = 10; /* what the feeds go by */
}

int feeds_setup(void **state) {
    struct feeds *w = calloc(1, sizeof *w);
    assert_non_null(w);
    redis_server_init(&w->server);
    redis_server_start(&w->server);
    w->hand = redisConnectUnix(w->server.sock);
    assert_non_null(w->hand);
    assert_int_equal(w->hand->err, 0);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    for (int i = 0; i < 2; i++)
        open_broker(w, i);
    *state = w;
    return 0;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

void feeds_end_broker(struct feeds *w, int which) {
    struct party *p = &w->brokers[which];
    if (p->gone)
        return;
    p->gone = true;
    hub_close(&p->hub, on_closed, &p->hub_closed);
    redis_run_until(&w->loop, &p->hub_closed);
    redis_probe_close(&w->loop, p->redis);
}

int feeds_teardown(void **state) {
    struct feeds *w = *state;
    for (int i = 0; i < 2; i++)
        feeds_end_broker(w, i);
    redis_loop_end(&w->loop);
    redisFree(w->hand);
    redis_server_fini(&w->server);
    free(w);
    return 0;
}

long long feeds_do(struct feeds *w, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    redisReply *r = redisvCommand(w->hand, format, ap);
    va_end(ap);
    assert_non_null(r);
    if (r->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, r->str);
    long long value = r->type == REDIS_REPLY_INTEGER ? r->integer
                      : r->type == REDIS_REPLY_ARRAY ? (long long)r->elements
                                                     : (long long)r->len;
    freeReplyObject(r);
    return value;
}

static void add(struct feeds *w, const char *id, const char *position, const struct tc_event *ev) {
    struct tc_buf e = {0};
    tc_event_encode(&e, ev);
    (void)feeds_do(w, "XADD tc:{%s}:log %s e %b", id, position, e.data, e.len);
    tc_buf_fini(&e);
}

static bool is_ready(void *arg) {
    return ((struct feed *)arg)->state == FEED_READY;
}

struct feed *feeds_open(struct feeds *w, int which, const char *id, bool started) {
    struct feed *f;
    if (feeds_do(w, "EXISTS tc:{%s}:log", id) == 0) {
        add(w, id, "0-1", &(struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m")});
        if (started)
            add(w, id, "1-2", &(struct tc_event){.type = TC_EV_START, .model = TC_STR("m")});
        (void)feeds_do(w, "XADD tc:jobs 1-1 gen %s", id);
        (void)feeds_do(w, "HSET tc:{%s}:meta model m request {} job 1-1 on_abandon_ms 1000 created 1", id);
    }
    assert_int_equal(feed_get(&w->brokers[which].hub, id, &f), 0);
    redis_run_until_cond(&w->loop, is_ready, f);
    f->room_ms = hub_now_ms(f->hub); /* somebody watches it in a room */
    return f;
}

void feeds_wait(struct feeds *w, bool (*cond)(void *arg), void *arg) {
    redis_run_until_cond(&w->loop, cond, arg);
}

void feeds_pass(struct feeds *w, int ms) {
    redis_run_for(&w->loop, ms);
}
