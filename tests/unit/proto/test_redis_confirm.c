/* Whether the link leads to the master: node 0 plays the sentinel, nodes 1 and 2 master and replica. */
#include "redis/redis.h"

#include "redis_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct redis_play play;
static struct { int n, confirmed; } said;
static struct tc_redis_inquiry inquiry;

static int begin(void **state) {
    (void)state;
    memset(&said, 0, sizeof(said));
    return redis_play_begin_sentinel(&play, "");
}

static int end(void **state) {
    (void)state;
    return redis_play_end(&play);
}

static void on_said(void *arg, bool confirmed) {
    (void)arg;
    said.n++;
    said.confirmed += confirmed;
}

static bool has_said(void *arg) {
    return said.n >= *(int *)arg;
}

static void confirm(void) {
    inquiry = (struct tc_redis_inquiry){.cb = on_said};
    tc_redis_confirm(play.r, &inquiry);
}

static bool is_confirmed(void) {
    int n = said.n + 1, confirmed = said.confirmed;
    confirm();
    redis_run_until_cond(&play.loop, has_said, &n);
    assert_int_equal(said.n, n);
    return said.confirmed > confirmed;
}

static void confirm_master_in_order_is_confirmed(void **state) {
    (void)state;
    redis_play_create_up(&play);
    assert_true(is_confirmed());
    assert_int_equal(play.nodes.masters, 1);
}

static void confirm_demoted_server_is_not(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.replica[1] = true;
    assert_false(is_confirmed());
}

static void confirm_with_a_doubt_of_the_sentinel_is_not(void **state) {
    (void)state;
    static const char *const doubts[] = {"master,s_down", "master,s_down,o_down,failover_in_progress",
                                         "master,disconnected", ""};
    redis_play_create_up(&play);
    for (size_t i = 0; i < 4; i++) {
        play.nodes.flags = doubts[i];
        assert_false(is_confirmed());
    }
    play.nodes.flags = "master";
    assert_true(is_confirmed());
}

/* It was stopped and has not heard the others yet. */
static void confirm_by_a_sentinel_in_tilt_is_not(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.tilt = true;
    assert_false(is_confirmed());
    play.nodes.tilt = false;
    assert_true(is_confirmed());
}

static void confirm_another_address_is_not(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.master = 2;
    assert_false(is_confirmed());
}

static void confirm_without_a_sentinel_is_not(void **state) {
    (void)state;
    redis_play_create_up(&play);
    redis_fake_stop(&play.nodes.node[0]);
    redis_run_for(&play.loop, 50);
    assert_true(tc_redis_is_up(play.r));
    assert_false(is_confirmed());
}

static void confirm_a_sentinel_that_hangs_is_not(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.flags = NULL;
    assert_false(is_confirmed());
    assert_true(tc_redis_is_up(play.r));
}

static void confirm_user_who_may_not_ask_takes_the_last_word(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.may_not_ask = true;
    assert_true(is_confirmed());
}

/* Whoever comes while a question is under way needs an answer that is younger than what was seen. */
static void confirm_many_at_once_are_two_questions(void **state) {
    (void)state;
    struct tc_redis_inquiry all[50];
    int n = 50;
    redis_play_create_up(&play);
    int roles = play.nodes.roles;
    for (int i = 0; i < n; i++) {
        all[i] = (struct tc_redis_inquiry){.cb = on_said};
        tc_redis_confirm(play.r, &all[i]);
    }
    redis_run_until_cond(&play.loop, has_said, &n);
    assert_int_equal(said.confirmed, 50);
    assert_int_equal(play.nodes.masters, 2);
    assert_int_equal(play.nodes.roles - roles, 2);
}

static bool role_was_asked(void *arg) {
    return play.nodes.roles > *(int *)arg;
}

/* The second one saw what the former master said, and the next question would be about the new one. */
static void confirm_failover_meanwhile_is_not(void **state) {
    (void)state;
    struct tc_redis_inquiry second = {.cb = on_said};
    int both = 2;
    redis_play_create_up(&play);
    int roles = play.nodes.roles;
    play.nodes.no_role = true;
    confirm();
    tc_redis_confirm(play.r, &second);
    redis_run_until_cond(&play.loop, role_was_asked, &roles);
    play.nodes.no_role = false;
    play.nodes.real = (struct redis_halves){2, 2};
    play.nodes.master = 2;
    redis_run_until_cond(&play.loop, has_said, &both);
    assert_int_equal(said.confirmed, 0);
    redis_probe_await_up(&play.loop, play.r);
    assert_true(is_confirmed());
}

static void confirm_close_meanwhile_is_not(void **state) {
    (void)state;
    struct tc_redis_inquiry second = {.cb = on_said};
    redis_play_create_up(&play);
    play.nodes.flags = NULL;
    confirm();
    tc_redis_confirm(play.r, &second);
    redis_play_close(&play);
    assert_int_equal(said.n, 2);
    assert_int_equal(said.confirmed, 0);
}

static void confirm_one_server_asks_nobody(void **state) {
    (void)state;
    snprintf(play.nodes.url, sizeof(play.nodes.url), "redis://127.0.0.1:%d", play.nodes.node[1].port);
    redis_play_create_up(&play);
    confirm();
    assert_int_equal(said.confirmed, 1);
    assert_int_equal(play.nodes.roles, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(confirm_master_in_order_is_confirmed, begin, end),
        cmocka_unit_test_setup_teardown(confirm_demoted_server_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_with_a_doubt_of_the_sentinel_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_by_a_sentinel_in_tilt_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_another_address_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_without_a_sentinel_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_a_sentinel_that_hangs_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_user_who_may_not_ask_takes_the_last_word, begin, end),
        cmocka_unit_test_setup_teardown(confirm_many_at_once_are_two_questions, begin, end),
        cmocka_unit_test_setup_teardown(confirm_failover_meanwhile_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_close_meanwhile_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_one_server_asks_nobody, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
