/* Whether the link leads to the master: node 0 plays the sentinel, nodes 1 and 2 master and replica. */
#include "redis/redis.h"

#include "redis_fixture.h"
#include "redis_nodes.h"

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
static struct { int n, confirmed; } said;
static struct tc_redis_inquiry inquiry;

static int begin(void **state) {
    (void)state;
    nodes = calloc(1, sizeof(*nodes));
    if (!nodes || uv_loop_init(&loop) != 0)
        return -1;
    memset(&said, 0, sizeof(said));
    redis_nodes_start(nodes, &loop);
    nodes->real = (struct redis_halves){1, 1};
    snprintf(nodes->url, sizeof(nodes->url), "redis+sentinel://127.0.0.1:%d/m", nodes->node[0].port);
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

static void create_up(void) {
    const struct tc_redis_options opts = {.url = nodes->url, .backoff_min_ms = 2, .backoff_max_ms = 20, .pubsub = true};
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    redis_probe_attach(&probe, r);
    redis_probe_await_up(&loop, r);
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
    tc_redis_confirm(r, &inquiry);
}

static bool is_confirmed(void) {
    int n = said.n + 1, confirmed = said.confirmed;
    confirm();
    redis_run_until_cond(&loop, has_said, &n);
    assert_int_equal(said.n, n);
    return said.confirmed > confirmed;
}

static void confirm_master_in_order_is_confirmed(void **state) {
    (void)state;
    create_up();
    assert_true(is_confirmed());
    assert_int_equal(nodes->masters, 1);
}

static void confirm_demoted_server_is_not(void **state) {
    (void)state;
    create_up();
    nodes->replica[1] = true;
    assert_false(is_confirmed());
}

static void confirm_with_a_doubt_of_the_sentinel_is_not(void **state) {
    (void)state;
    static const char *const doubts[] = {"master,s_down", "master,s_down,o_down,failover_in_progress",
                                         "master,disconnected", ""};
    create_up();
    for (size_t i = 0; i < 4; i++) {
        nodes->flags = doubts[i];
        assert_false(is_confirmed());
    }
    nodes->flags = "master";
    assert_true(is_confirmed());
}

static void confirm_another_address_is_not(void **state) {
    (void)state;
    create_up();
    nodes->master = 2;
    assert_false(is_confirmed());
}

static void confirm_without_a_sentinel_is_not(void **state) {
    (void)state;
    create_up();
    redis_fake_stop(&nodes->node[0]);
    redis_run_for(&loop, 50);
    assert_true(tc_redis_is_up(r));
    assert_false(is_confirmed());
}

static void confirm_a_sentinel_that_hangs_is_not(void **state) {
    (void)state;
    create_up();
    nodes->flags = NULL;
    assert_false(is_confirmed());
    assert_true(tc_redis_is_up(r));
}

static void confirm_user_who_may_not_ask_takes_the_last_word(void **state) {
    (void)state;
    create_up();
    nodes->may_not_ask = true;
    assert_true(is_confirmed());
}

/* Whoever comes while a question is under way needs an answer that is younger than what was seen. */
static void confirm_many_at_once_are_two_questions(void **state) {
    (void)state;
    struct tc_redis_inquiry all[50];
    int n = 50;
    create_up();
    int roles = nodes->roles;
    for (int i = 0; i < n; i++) {
        all[i] = (struct tc_redis_inquiry){.cb = on_said};
        tc_redis_confirm(r, &all[i]);
    }
    redis_run_until_cond(&loop, has_said, &n);
    assert_int_equal(said.confirmed, 50);
    assert_int_equal(nodes->masters, 2);
    assert_int_equal(nodes->roles - roles, 2);
}

static bool role_was_asked(void *arg) {
    return nodes->roles > *(int *)arg;
}

/* The second one saw what the former master said, and the next question would be about the new one. */
static void confirm_failover_meanwhile_is_not(void **state) {
    (void)state;
    struct tc_redis_inquiry second = {.cb = on_said};
    int both = 2;
    create_up();
    int roles = nodes->roles;
    nodes->no_role = true;
    confirm();
    tc_redis_confirm(r, &second);
    redis_run_until_cond(&loop, role_was_asked, &roles);
    nodes->no_role = false;
    nodes->real = (struct redis_halves){2, 2};
    nodes->master = 2;
    redis_run_until_cond(&loop, has_said, &both);
    assert_int_equal(said.confirmed, 0);
    redis_probe_await_up(&loop, r);
    assert_true(is_confirmed());
}

static void confirm_close_meanwhile_is_not(void **state) {
    (void)state;
    struct tc_redis_inquiry second = {.cb = on_said};
    create_up();
    nodes->flags = NULL;
    confirm();
    tc_redis_confirm(r, &second);
    redis_probe_close(&loop, r);
    r = NULL;
    assert_int_equal(said.n, 2);
    assert_int_equal(said.confirmed, 0);
}

static void confirm_one_server_asks_nobody(void **state) {
    (void)state;
    snprintf(nodes->url, sizeof(nodes->url), "redis://127.0.0.1:%d", nodes->node[1].port);
    create_up();
    confirm();
    assert_int_equal(said.confirmed, 1);
    assert_int_equal(nodes->roles, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(confirm_master_in_order_is_confirmed, begin, end),
        cmocka_unit_test_setup_teardown(confirm_demoted_server_is_not, begin, end),
        cmocka_unit_test_setup_teardown(confirm_with_a_doubt_of_the_sentinel_is_not, begin, end),
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
