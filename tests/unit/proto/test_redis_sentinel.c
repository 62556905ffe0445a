/* Sentinel behind redis/redis.h: node 0 plays the sentinel, nodes 1 and 2 master and replica. */
#include "redis/redis.h"

#include "redis_ear.h"
#include "redis_play.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct redis_play play;
static struct redis_replies replies;
static struct redis_call call;

static int begin(void **state) {
    (void)state;
    memset(&replies, 0, sizeof(replies));
    call = (struct redis_call){&replies, 0};
    return redis_play_begin_sentinel(&play, ":pw@");
}

static int end(void **state) {
    (void)state;
    return redis_play_end(&play);
}

static int set(void) {
    return tc_redis_command(play.r, TC_STR("k"), redis_on_reply, &call, "SET k v");
}

static bool has_reply(void *arg) {
    return replies.n >= *(int *)arg;
}

static void await_replies(int n) {
    redis_run_until_cond(&play.loop, has_reply, &n);
}

static bool was_down(void *arg) {
    (void)arg;
    return play.probe.downs > 0;
}

static void master_is_the_one_that_the_sentinel_names(void **state) {
    (void)state;
    redis_play_create_up(&play);
    assert_int_equal(set(), 0);
    await_replies(1);
    assert_int_equal(replies.ok, 1);
    assert_non_null(strstr(play.nodes.heard[1], "SET"));
    assert_int_equal(play.nodes.node[2].accepted, 0);
    assert_null(strstr(play.nodes.heard[0], "SELECT"));
}

static void unknown_name_is_asked_for_again(void **state) {
    (void)state;
    play.nodes.master = -1;
    redis_play_create(&play);
    uint64_t began = uv_hrtime();
    redis_run_for(&play.loop, 300);
    uint64_t took_ms = (uv_hrtime() - began) / 1000000;
    assert_false(tc_redis_is_up(play.r));
    assert_int_equal(set(), TC_ELINK);
    assert_in_range(play.nodes.asked, 2, took_ms / 10 + 1); /* at the longest back-off, 10 to 30 ms here */
    play.nodes.master = 1;
    redis_probe_await_up(&play.loop, play.r);
}

static void replica_is_not_taken_for_a_master(void **state) {
    (void)state;
    play.nodes.replica[1] = true;
    redis_play_create(&play);
    redis_run_for(&play.loop, 60);
    assert_false(tc_redis_is_up(play.r));
    assert_true(play.nodes.node[1].accepted >= 2);
    play.nodes.replica[1] = false;
    redis_probe_await_up(&play.loop, play.r);
}

static void failover_away_from_a_living_master_is_a_lost_link(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    redis_play_create_up(&play);
    redis_ear_listen(play.r, &a, "ch");
    play.nodes.mute = true;
    assert_int_equal(set(), 0);
    redis_run_for(&play.loop, 20);
    play.nodes.mute = false;
    play.nodes.real = (struct redis_halves){2, 2};
    play.nodes.master = 2;
    redis_run_until_cond(&play.loop, was_down, NULL);
    assert_int_equal(play.probe.last_err, TC_ELINK);
    assert_int_equal(replies.failed, 1);
    assert_int_equal(replies.last_err, TC_ELINK);
    redis_probe_await_up(&play.loop, play.r);
    assert_int_equal(set(), 0);
    await_replies(2);
    assert_non_null(strstr(play.nodes.heard[2], "SET"));
    assert_non_null(strstr(play.nodes.heard[2], "SUBSCRIBE"));
    tc_redis_unsubscribe(play.r, &a.sub);
}

static void readonly_reply_is_told_and_the_link_is_lost(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.readonly = true;
    play.nodes.replica[1] = true;
    play.nodes.master = 2;
    assert_int_equal(set(), 0);
    await_replies(1);
    assert_int_equal(replies.ok, 1); /* with the error as reply */
    assert_int_equal(play.probe.downs, 1);
    redis_probe_await_up(&play.loop, play.r);
    assert_true(play.nodes.node[2].accepted > 0);
}

static void dead_sentinel_is_passed_over(void **state) {
    (void)state;
    snprintf(play.nodes.url, sizeof(play.nodes.url), "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d/m", redis_free_port(),
             play.nodes.node[0].port);
    redis_play_create_up(&play);
}

static void sentinel_lost_later_does_no_harm(void **state) {
    (void)state;
    redis_play_create_up(&play);
    redis_nodes_cut(&play.nodes, 0);
    redis_run_for(&play.loop, 50);
    assert_int_equal(play.probe.downs, 0);
    assert_true(tc_redis_is_up(play.r));
}

static void close_at_any_time_ends(void **state) {
    (void)state;
    redis_play_close_early(&play);
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
