/* The loop's feeds. See hub.h. */
#include "feed/hub.h"

#include "base/clock.h"
#include "feed/channel.h"
#include "feed/epoch.h"
#include "feed/eviction.h"
#include "feed/feed.h"
#include "feed/queue.h"
#include "feed/status.h"
#include "http/batch.h"
#include "tokencast/error.h"

#define TOGETHER        16  /* fans whose memory is asked for at once */
#define SWEEP_PARTS     16  /* a sweep goes through the feeds in so many: ten thousand at once would take 2 ms */
#define VISITS_PER_TURN 512 /* subscribers flushed before the loop looks at its sockets again */

uint64_t hub_now_ms(const struct hub *h) {
    return uv_now(h->loop);
}

static void on_idle(uv_idle_t *idle) {
    (void)idle; /* its being active is what matters: poll does not sleep */
}

void hub_mark_dirty(struct hub *h, struct tc_list *node) {
    tc_list_add_tail(&h->dirty, node);
    if (!h->closing)
        uv_idle_start(&h->idle, on_idle);
}

static void tell_latencies(struct hub *h, const int64_t *at, unsigned count) {
    int64_t now = count > 0 ? tc_now_us() : 0;
    for (unsigned i = 0; i < count && h->on_latency != NULL; i++)
        h->on_latency(h->arg, now - at[i]);
}

uint64_t hub_quiet_ms(const struct hub *h) {
    return h->opts.sweep_ms > 1 ? (uint64_t)h->opts.sweep_ms / 2 : 1;
}

/* The next fans of `work` will be flushed: asks for the memory that this touches. */
static void warm(struct tc_list *work) {
    const struct fan *fans[TOGETHER];
    unsigned n = 0;
    for (struct tc_list *at = work->next; at != work && n < TOGETHER; at = at->next)
        fans[n++] = TC_CONTAINER_OF(at, struct fan, dirty);
    for (unsigned depth = 0; depth < FAN_DEPTHS && n > 1; depth++)
        for (unsigned i = 0; i < n; i++)
            fan_ahead(fans[i], depth);
}

static void flush(struct hub *h) {
    unsigned budget = VISITS_PER_TURN, told = 0;
    int64_t at[VISITS_PER_TURN];
    struct tc_list work;
    tc_list_move(&h->dirty, &work);
    for (unsigned i = 0; !tc_list_empty(&work); i++) {
        if (i % TOGETHER == 0)
            warm(&work);
        struct fan *f = TC_CONTAINER_OF(work.next, struct fan, dirty);
        unsigned before = budget;
        tc_list_remove(&f->dirty);
        bool left = fan_flush(f, &budget);
        if (left && !tc_list_linked(&f->dirty))
            tc_list_add_tail(&h->dirty, &f->dirty);
        if (f->latency_at > 0 && budget < before)
            at[told++] = f->latency_at;
        if (budget < before || !left)
            f->latency_at = 0;
    }
    http_batch_submit(h->opts.batch);
    tell_latencies(h, at, told);
    if (tc_list_empty(&h->dirty))
        uv_idle_stop(&h->idle);
}

static void on_check(uv_check_t *check) {
    struct hub *h = check->data;
    if (!tc_list_empty(&h->dirty))
        flush(h);
}

static unsigned sweep_parts(const struct hub *h) {
    return hub_quiet_ms(h) < SWEEP_PARTS ? (unsigned)hub_quiet_ms(h) : SWEEP_PARTS;
}

/* Each feed has its turn once in a sweep, and is the last in the row then. */
static void sweep_part(struct hub *h, uint64_t now) {
    unsigned parts = sweep_parts(h), all = HASH_COUNT(h->feeds);
    unsigned count = all * (h->part + 1) / parts - all * h->part / parts;
    for (; count > 0 && !tc_list_empty(&h->turns); count--) {
        struct feed *f = TC_CONTAINER_OF(h->turns.next, struct feed, turn);
        tc_list_remove(&f->turn);
        tc_list_add_tail(&h->turns, &f->turn);
        feed_sweep(f, now);
    }
}

static void on_sweep(uv_timer_t *timer) {
    struct hub *h = timer->data;
    uint64_t now = hub_now_ms(h);
    sweep_part(h, now);
    h->part = (h->part + 1) % sweep_parts(h);
    if (h->part != 0)
        return;
    queue_sweep(h);
    channels_sweep(h, now);
    recap_expire(&h->recap, now);
    eviction_sample(h);
    epoch_sweep(h);
}

static void on_redis_up(void *arg) {
    struct hub *h = arg;
    h->away = false;
    eviction_look(h);
}

static void on_redis_down(void *arg, int err) {
    struct hub *h = arg;
    (void)err;
    h->away = true;
}

/* In a Cluster one feed's server may be back while another's is away. */
static void on_redis_change(void *arg) {
    struct hub *h = arg;
    struct feed *f, *next;
    queue_forget(h);
    epoch_look(h); /* answered before what the feeds ask for */
    HASH_ITER(hh, h->feeds, f, next) {
        feed_redis_changed(f);
    }
}

int hub_init(struct hub *h, uv_loop_t *loop, struct tc_redis *redis, const struct hub_options *opts) {
    *h = (struct hub){.loop = loop, .redis = redis, .opts = *opts};
    tc_list_init(&h->turns);
    tc_list_init(&h->dirty);
    tc_list_init(&h->queue.waits);
    tc_random(&h->said_point, sizeof h->said_point);
    if (uv_check_init(loop, &h->check) != 0 || uv_idle_init(loop, &h->idle) != 0 || uv_timer_init(loop, &h->sweep) != 0)
        return TC_ENOMEM;
    h->check.data = h->idle.data = h->sweep.data = h;
    h->handles = 3;
    uv_check_start(&h->check, on_check);
    uint64_t every = hub_quiet_ms(h) / sweep_parts(h);
    uv_timer_start(&h->sweep, on_sweep, every, every);
    h->watch =
        (struct tc_redis_watch){.on_up = on_redis_up, .on_down = on_redis_down, .on_change = on_redis_change, .arg = h};
    tc_redis_watch_add(redis, &h->watch);
    return 0;
}

static void on_handle_closed(uv_handle_t *handle) {
    struct hub *h = handle->data;
    if (--h->handles == 0 && h->close_cb != NULL)
        h->close_cb(h->close_arg);
}

static void cut_sub(struct sub *s, void *arg) {
    (void)arg;
    sub_destroy(s, false);
}

void hub_close(struct hub *h, void (*cb)(void *arg), void *arg) {
    h->closing = true;
    h->close_cb = cb;
    h->close_arg = arg;
    tc_redis_watch_remove(h->redis, &h->watch);
    drain_fini(h);
    channels_destroy(h);
    struct feed *f, *next;
    HASH_ITER(hh, h->feeds, f, next) {
        fan_each_sub(&f->fan, cut_sub, NULL);
        feed_destroy(f);
    }
    recap_fini(&h->recap);
    tc_buf_fini(&h->scratch);
    uv_close((uv_handle_t *)&h->check, on_handle_closed);
    uv_close((uv_handle_t *)&h->idle, on_handle_closed);
    uv_close((uv_handle_t *)&h->sweep, on_handle_closed);
}
