/* Sentinel behind redis/redis.h: node 0 plays the sentinel, nodes 1 and 2 master and replica. */
#include "redis/redis.h"

#include "redis_ear.h"
#include "redis_fixture.h"
#include "redis_nodes.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct redis_nodes *nodes;
static struct tc_redis *r;
static struct redis_probe probe;
static struct redis_replies replies;
static struct redis_call call;

static int begin(void **state) {
    (void)state;
    nodes = calloc(1, sizeof(*nodes));
    if (!nodes || uv_loop_init(&loop) != 0)
        return -1;
    memset(&replies, 0, sizeof(replies));
    call = (struct redis_call){&replies, 0};
    redis_nodes_start(nodes, &loop);
    nodes->real = (struct redis_halves){1, 1};
    snprintf(nodes->url, sizeof(nodes->url), "redis+sentinel://:pw@127.0.0.1:%d/m", nodes->node[0].port);
    return 0;
}

static int end(void **state) {
    (void)state;
    if (r)
        redis_probe_close(&loop, r);
    r = NULL;
    redis_nodes_stop(nodes);
    redis_loop_end(&loop);
    free(nodes);
    return 0;
}

static void create(void) {
    const struct tc_redis_options opts = {.url = nodes->url, .backoff_min_ms = 2, .backoff_max_ms = 20, .pubsub = true};
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    redis_probe_attach(&probe, r);
}

static void create_up(void) {
    create();
    redis_probe_await_up(&loop, r);
}

static int set(void) {
    return tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "SET k v");
}

static bool has_reply(void *arg) {
    return replies.n >= *(int *)arg;
}

static void await_replies(int n) {
    redis_run_until_cond(&loop, has_reply, &n);
}

static bool was_down(void *arg) {
    (void)arg;
    return probe.downs > 0;
}

static void master_is_the_one_that_the_sentinel_names(void **state) {
    (void)state;
    create_up();
    assert_int_equal(set(), 0);
    await_replies(1);
    assert_int_equal(replies.ok, 1);
    assert_non_null(strstr(nodes->heard[1], "SET"));
    assert_int_equal(nodes->node[2].accepted, 0);
    assert_null(strstr(nodes->heard[0], "SELECT"));
}

static void unknown_name_is_asked_for_again(void **state) {
    (void)state;
    nodes->master = -1;
    create();
    redis_run_for(&loop, 300);
    assert_false(tc_redis_is_up(r));
    assert_int_equal(set(), TC_ELINK);
    assert_true(nodes->asked <= 31); /* at the longest back-off, 10 to 30 ms here */
    nodes->master = 1;
    redis_probe_await_up(&loop, r);
}

static void replica_is_not_taken_for_a_master(void **state) {
    (void)state;
    nodes->replica[1] = true;
    create();
    redis_run_for(&loop, 60);
    assert_false(tc_redis_is_up(r));
    assert_true(nodes->node[1].accepted >= 2);
    nodes->replica[1] = false;
    redis_probe_await_up(&loop, r);
}

static void failover_away_from_a_living_master_is_a_lost_link(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    create_up();
    redis_ear_listen(r, &a, "ch");
    nodes->mute = true;
    assert_int_equal(set(), 0);
    redis_run_for(&loop, 20);
    nodes->mute = false;
    nodes->real = (struct redis_halves){2, 2};
    nodes->master = 2;
    redis_run_until_cond(&loop, was_down, NULL);
    assert_int_equal(probe.last_err, TC_ELINK);
    assert_int_equal(replies.failed, 1);
    assert_int_equal(replies.last_err, TC_ELINK);
    redis_probe_await_up(&loop, r);
    assert_int_equal(set(), 0);
    await_replies(2);
    assert_non_null(strstr(nodes->heard[2], "SET"));
    assert_non_null(strstr(nodes->heard[2], "SUBSCRIBE"));
    tc_redis_unsubscribe(r, &a.sub);
}

static void readonly_reply_is_told_and_the_link_is_lost(void **state) {
    (void)state;
    create_up();
    nodes->readonly = true;
    nodes->replica[1] = true;
    nodes->master = 2;
    assert_int_equal(set(), 0);
    await_replies(1);
    assert_int_equal(replies.ok, 1); /* with the error as reply */
    assert_int_equal(probe.downs, 1);
    redis_probe_await_up(&loop, r);
    assert_true(nodes->node[2].accepted > 0);
}

static void dead_sentinel_is_passed_over(void **state) {
    (void)state;
    snprintf(nodes->url, sizeof(nodes->url), "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d/m", redis_free_port(),
             nodes->node[0].port);
    create_up();
}

static void sentinel_lost_later_does_no_harm(void **state) {
    (void)state;
    create_up();
    redis_nodes_cut(nodes, 0);
    redis_run_for(&loop, 50);
    assert_int_equal(probe.downs, 0);
    assert_true(tc_redis_is_up(r));
}

static void close_at_any_time_ends(void **state) {
    (void)state;
    for (int ms = 0; ms < 12; ms++) {
        create();
        redis_run_for(&loop, ms);
        redis_probe_close(&loop, r);
        r = NULL;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(master_is_the_one_that_the_sentinel_names, begin, end),
        cmocka_unit_test_setup_teardown(unknown_name_is_asked_for_again, begin, end),
        cmocka_unit_test_setup_teardown(replica_is_not_taken_for_a_master, begin, end),
        cmocka_unit_test_setup_teardown(failover_away_from_a_living_master_is_a_lost_link, begin, end),
        cmocka_unit_test_setup_teardown(readonly_reply_is_told_and_the_link_is_lost, begin, end),
        cmocka_unit_test_setup_teardown(dead_sentinel_is_passed_over, begin, end),
        cmocka_unit_test_setup_teardown(sentinel_lost_later_does_no_harm, begin, end),
        cmocka_unit_test_setup_teardown(close_at_any_time_ends, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
