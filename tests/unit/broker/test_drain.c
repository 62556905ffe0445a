/* Shedding streams over a window, over connections that take everything. */
#include "feed/drain.h"

#include "feed/feed.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The part of http/ that subscribers use. */
struct http_conn {
    bool ended, clean, stuck;
    char got[512];
    size_t n;
};

ssize_t http_stream_send(struct http_conn *c, const struct iovec *iov, int n) {
    size_t took = 0;
    if (c->stuck)
        return TC_EAGAIN;
    for (int i = 0; i < n; i++) {
        size_t part = iov[i].iov_len < sizeof c->got - 1 - c->n ? iov[i].iov_len : sizeof c->got - 1 - c->n;
        memcpy(c->got + c->n, iov[i].iov_base, part);
        c->n += part;
        took += iov[i].iov_len;
    }
    return (ssize_t)took;
}

void http_stream_ahead(const struct http_conn *c) {
    (void)c;
}

void http_stream_want_write(struct http_conn *c) {
    (void)c;
}

void http_stream_end(struct http_conn *c, bool clean) {
    assert_false(c->ended);
    c->ended = true;
    c->clean = clean;
}

static enum catchup_result at_head(struct catchup *c, struct tc_buf *out, size_t limit) {
    (void)c;
    (void)out;
    (void)limit;
    return CATCHUP_HEAD;
}

static void forget(struct catchup *c) {
    free(c);
}

#define EACH 4
enum { YOUNG, OLD, QUEUED, KINDS };

static uv_loop_t loop;
static struct hub hub;
static struct feed *feeds[KINDS];
static struct http_conn conns[KINDS][EACH];

static void open_sub(struct feed *f, struct http_conn *conn, const struct dialect *dialect) {
    struct track *track;
    struct sub *s;
    struct tc_buf head = {0};
    struct track_key key = {.dialect = dialect, .include = INCLUDE_ALL, .chunked = true};
    struct catchup *c = calloc(1, sizeof *c);
    assert_non_null(c);
    *c = (struct catchup){.step = at_head, .destroy = forget};
    memset(conn, 0, sizeof *conn);
    assert_int_equal(fan_track(&f->fan, &key, &track), 0);
    assert_int_equal(sub_create(&s, &f->fan, track, conn, SUB_DROP, &head, c), 0);
    sub_pump(s);
}

static int before_each(void **state) {
    static const char *const ids[] = {"young", "old", "queued"};
    (void)state;
    memset(&hub, 0, sizeof hub);
    assert_int_equal(uv_loop_init(&loop), 0);
    hub.loop = &loop;
    assert_int_equal(uv_idle_init(&loop, &hub.idle), 0);
    hub.opts = (struct hub_options){.lag_events = 64, .lag_bytes = 16384, .max_feeds = 9};
    tc_list_init(&hub.dirty);
    for (int k = 0; k < KINDS; k++) {
        struct feed *f = calloc(1, sizeof *f);
        assert_non_null(f);
        f->hub = &hub;
        f->state = FEED_READY;
        f->started = k != QUEUED;
        f->last.seq = k == OLD ? 900 : 9;
        memcpy(f->id, ids[k], strlen(ids[k]) + 1);
        fan_init(&f->fan, &hub, &(struct fan_source){0});
        HASH_ADD_STR(hub.feeds, id, f);
        hub.stats.feeds++;
        feeds[k] = f;
        for (int i = 0; i < EACH; i++)
            open_sub(f, &conns[k][i], &dialect_native);
    }
    return 0;
}

static void cut(struct sub *s, void *arg) {
    (void)arg;
    sub_destroy(s, false);
}

static int after_each(void **state) {
    (void)state;
    drain_fini(&hub);
    for (int k = 0; k < KINDS; k++) {
        assert_int_equal(feeds[k]->refs, 0);
        fan_each_sub(&feeds[k]->fan, cut, NULL);
        fan_fini(&feeds[k]->fan);
        HASH_DEL(hub.feeds, feeds[k]);
        free(feeds[k]);
    }
    assert_int_equal(hub.stats.streams, 0);
    assert_int_equal(hub.shedding, 0);
    uv_close((uv_handle_t *)&hub.idle, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* As if `part` of a hundred parts of the window were over. */
static void tick_at(unsigned part) {
    hub.drain.begun_ms = hub_now_ms(&hub) - part * 10;
    hub.drain.window_ms = 1000;
    drain_tick(&hub);
}

static int gone(int kind) {
    int n = 0;
    for (int i = 0; i < EACH; i++)
        n += conns[kind][i].ended;
    return n;
}

static void drain_sheds_evenly_and_who_has_longest_to_go_first(void **state) {
    (void)state;
    drain_begin(&hub, 1000, 1000);
    assert_true(hub.draining);
    tick_at(0);
    assert_int_equal(hub.stats.streams, 12);
    tick_at(25);
    assert_int_equal(hub.stats.streams, 9);
    assert_int_equal(gone(QUEUED), 3);
    tick_at(50);
    assert_int_equal(gone(QUEUED), EACH);
    assert_int_equal(gone(OLD), 2);
    assert_int_equal(gone(YOUNG), 0);
    tick_at(99);
    assert_int_equal(hub.stats.streams, 1);
    assert_int_equal(gone(YOUNG), 3);
    tick_at(100);
    assert_int_equal(hub.stats.streams, 0);
    assert_int_equal(hub.stats.byes_drain, 12);
    assert_non_null(strstr(conns[YOUNG][0].got, "\"reason\":\"drain\""));
    assert_non_null(strstr(conns[YOUNG][0].got, "retry: "));
    assert_true(conns[YOUNG][0].clean);
}

static void drain_counts_streams_that_end_by_themselves(void **state) {
    (void)state;
    drain_begin(&hub, 1000, 1000);
    fan_each_sub(&feeds[YOUNG]->fan, cut, NULL);
    tick_at(30);
    assert_int_equal(hub.stats.byes_drain, 0); /* 8 are left, 9 may stay */
    tick_at(50);
    assert_int_equal(hub.stats.byes_drain, 2);
}

static void drain_leaves_bare_text_to_the_end(void **state) {
    static struct http_conn bare;
    (void)state;
    open_sub(feeds[QUEUED], &bare, &dialect_text);
    drain_begin(&hub, 1000, 1000);
    tick_at(100);
    assert_int_equal(hub.stats.streams, 1);
    assert_false(bare.ended);
    fan_each_sub(&feeds[QUEUED]->fan, cut, NULL);
    assert_false(bare.clean);
}

static void drain_asks_a_stream_that_takes_nothing_once(void **state) {
    (void)state;
    conns[QUEUED][0].stuck = true;
    drain_begin(&hub, 1000, 1000);
    tick_at(100);
    assert_int_equal(hub.stats.streams, 1);
    assert_int_equal(hub.shedding, 1);
    tick_at(100);
    assert_int_equal(hub.stats.byes_drain, 12);
}

#define T(name) cmocka_unit_test_setup_teardown(name, before_each, after_each)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(drain_sheds_evenly_and_who_has_longest_to_go_first),
        T(drain_counts_streams_that_end_by_themselves),
        T(drain_leaves_bare_text_to_the_end),
        T(drain_asks_a_stream_that_takes_nothing_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
