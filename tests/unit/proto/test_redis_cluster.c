/* A Cluster behind redis/redis.h: where commands go, what a moved slot and a lost node do to them. */
#include "redis/redis.h"

#include "redis_fixture.h"
#include "redis_nodes.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct redis_nodes *nodes;
static struct tc_redis *r;
static struct redis_probe probe;

/* What came of the commands, in order of their ends: the answering node, or the error, or 'E' and the reply's text. */
static struct {
    int n;
    int err[64];
    char text[64][48];
} said;

static void on_reply(void *arg, int err, const redisReply *reply) {
    (void)arg;
    assert_int_equal(err == 0, reply != NULL);
    assert_true(said.n < 64);
    said.err[said.n] = err;
    const char *text = reply && reply->str ? reply->str : "";
    strncpy(said.text[said.n], text, sizeof(said.text[0]) - 1);
    said.n++;
}

static int begin(void **state) {
    (void)state;
    nodes = calloc(1, sizeof(*nodes));
    memset(&said, 0, sizeof(said));
    if (!nodes || uv_loop_init(&loop) != 0)
        return -1;
    redis_nodes_start(nodes, &loop);
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

static int get(const char *key) {
    return tc_redis_command(r, tc_str_from(key), on_reply, NULL, "GET %s", key);
}

static bool has_said(void *arg) {
    return said.n >= *(int *)arg;
}

static void await_said(int n) {
    redis_run_until_cond(&loop, has_said, &n);
}

static const char *answer(const char *key) {
    int n = said.n;
    assert_int_equal(get(key), 0);
    await_said(n + 1);
    assert_int_equal(said.err[n], 0);
    return said.text[n];
}

static bool was_asked(void *arg) {
    return nodes->asked >= *(int *)arg;
}

static void await_map(void) {
    int n = nodes->asked + 1;
    redis_run_until_cond(&loop, was_asked, &n);
    redis_run_for(&loop, 20);
}

static bool was_down(void *arg) {
    return probe.downs >= *(int *)arg;
}

static void await_downs(int n) {
    redis_run_until_cond(&loop, was_down, &n);
}

static void key_goes_to_the_owner_of_its_slot(void **state) {
    (void)state;
    create_up();
    assert_int_equal(probe.ups, 1);
    assert_string_equal(answer(redis_nodes_key(false)), "0");
    assert_string_equal(answer(redis_nodes_key(true)), "1");
    assert_string_equal(nodes->heard[0], "GET ");
    assert_string_equal(nodes->heard[1], "GET ");
    assert_int_equal(nodes->node[2].accepted, 0);
}

static void first_seed_away_the_next_is_asked(void **state) {
    (void)state;
    char gone[32];
    snprintf(gone, sizeof(gone), "127.0.0.1:%d,", redis_free_port());
    char *at = strstr(nodes->url, "127");
    memmove(at + strlen(gone), at, strlen(at) + 1);
    memcpy(at, gone, strlen(gone));
    create_up();
    assert_string_equal(answer(redis_nodes_key(true)), "1");
}

static void slots_without_owner_keep_it_down(void **state) {
    (void)state;
    nodes->told.high = nodes->real.high = -1;
    create();
    redis_run_for(&loop, 100);
    assert_false(tc_redis_is_up(r));
    assert_string_equal(answer(redis_nodes_key(false)), "0"); /* the others can be used */
    assert_int_equal(get(redis_nodes_key(true)), TC_ELINK);
    nodes->told.high = nodes->real.high = 1;
    redis_probe_await_up(&loop, r);
    assert_int_equal(probe.downs, 0);
}

static void moved_command_is_repeated_at_the_owner_in_order(void **state) {
    (void)state;
    create_up();
    nodes->real.high = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(tc_redis_command(r, tc_str_from(redis_nodes_key(true)), on_reply, NULL,
                                          i == 1 ? "LLEN %s" : "GET %s", redis_nodes_key(true)),
                         0);
    await_said(3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(said.text[i], "0");
    assert_string_equal(nodes->heard[0], "GET LLEN GET ");
}

static void moved_refreshes_the_map_once_for_many(void **state) {
    (void)state;
    create_up();
    nodes->real.high = 2;
    nodes->told.high = 2;
    for (int i = 0; i < 50; i++)
        assert_int_equal(get(redis_nodes_key(true)), 0);
    await_said(50);
    await_map();
    redis_probe_await_up(&loop, r);
    assert_true(nodes->asked <= 6);
    assert_string_equal(answer(redis_nodes_key(true)), "2");
}

static void moved_while_the_map_is_asked_asks_again(void **state) {
    (void)state;
    create_up();
    int asked = nodes->asked + 1;
    nodes->hold = true;
    nodes->real = (struct redis_halves){1, 0};
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    redis_run_until_cond(&loop, was_asked, &asked);
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    redis_nodes_release(nodes); /* which still names the former owner */
    nodes->told = nodes->real;
    uint64_t calm = uv_hrtime() + (uint64_t)3000 * 1000000; /* it asks of its own accord after 4 s at the earliest */
    await_map();
    assert_true(uv_hrtime() < calm);
    nodes->heard[1][0] = '\0';
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    assert_string_equal(nodes->heard[1], "");
}

static void moved_to_a_stranger_is_the_callers(void **state) {
    (void)state;
    create_up();
    nodes->real.high = 2; /* not in the map */
    assert_int_equal(strncmp(answer(redis_nodes_key(true)), "MOVED", 5), 0);
    assert_true(tc_redis_is_up(r));
}

static void redirected_in_circles_gives_up(void **state) {
    (void)state;
    create_up();
    nodes->circle = true;
    assert_int_equal(strncmp(answer(redis_nodes_key(true)), "MOVED", 5), 0);
    assert_string_equal(nodes->heard[0], "GET GET ");
    assert_string_equal(nodes->heard[1], "GET GET ");
}

static void ask_is_for_one_command(void **state) {
    (void)state;
    create_up();
    nodes->ask = 0;
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    assert_string_equal(nodes->heard[1], "GET ");
    assert_string_equal(nodes->heard[0], "ASKING GET ");
    nodes->ask = -1;
    assert_string_equal(answer(redis_nodes_key(true)), "1");
}

static int append(const char *key) {
    return tc_redis_command(r, tc_str_from(key), on_reply, NULL, "XADD %s NOMKSTREAM 1-2 e x", key);
}

/* Rule 7: after a failover the entry might leave a hole. */
static void append_moved_is_not_repeated(void **state) {
    (void)state;
    create_up();
    nodes->real.high = 0;
    assert_int_equal(append(redis_nodes_key(true)), 0);
    await_said(1);
    assert_int_equal(strncmp(said.text[0], "MOVED", 5), 0);
    assert_string_equal(nodes->heard[0], "");
    nodes->real.high = 1;
    nodes->ask = 0; /* a migration loses nothing */
    assert_int_equal(append(redis_nodes_key(true)), 0);
    await_said(2);
    assert_string_equal(said.text[1], "0");
}

static void transaction_moved_fails_as_a_whole(void **state) {
    (void)state;
    create_up();
    nodes->real.high = 0;
    struct tc_str key = tc_str_from(redis_nodes_key(true));
    assert_int_equal(tc_redis_command(r, key, on_reply, NULL, "MULTI"), 0);
    assert_int_equal(get(key.p), 0);
    assert_int_equal(tc_redis_command(r, key, on_reply, NULL, "EXEC"), 0);
    assert_int_equal(get(key.p), 0);
    await_said(4);
    assert_int_equal(said.err[0], 0);
    assert_int_equal(said.err[1], TC_ELINK);
    assert_int_equal(said.err[2], TC_ELINK);
    assert_string_equal(said.text[3], "0");
    assert_string_equal(nodes->heard[1], "MULTI GET EXEC GET ");
    assert_string_equal(nodes->heard[0], "GET ");
}

static void lost_node_fails_its_commands_once_and_no_others(void **state) {
    (void)state;
    create_up();
    nodes->mute = true;
    assert_int_equal(get(redis_nodes_key(false)), 0);
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_for(&loop, 20);
    redis_nodes_cut(nodes, 1);
    await_downs(1);
    assert_int_equal(said.n, 1);
    assert_int_equal(said.err[0], TC_ELINK);
    assert_false(tc_redis_is_up(r));
    assert_int_equal(get(redis_nodes_key(true)), TC_ELINK);
    assert_int_equal(get(redis_nodes_key(false)), 0);
    redis_probe_await_up(&loop, r);
    assert_int_equal(probe.ups, 2);
}

static void second_lost_node_is_told_too(void **state) {
    (void)state;
    create_up();
    nodes->told.high = nodes->real.high = -1; /* keeps it down */
    redis_nodes_cut(nodes, 1);
    await_downs(1);
    await_map();
    assert_false(tc_redis_is_up(r));
    int downs = probe.downs, ups = probe.ups;
    redis_nodes_cut(nodes, 0);
    await_downs(downs + 1);
    assert_int_equal(probe.ups, ups);
}

static bool reaches_low_alone(void *arg) {
    (void)arg;
    return tc_redis_reaches(r, tc_str_from(redis_nodes_key(false))) &&
           !tc_redis_reaches(r, tc_str_from(redis_nodes_key(true)));
}

static bool is_unusable(void *arg) {
    (void)arg;
    return !tc_redis_is_usable(r);
}

static int changes;

static void on_change(void *arg) {
    (void)arg;
    changes++;
}

static void part_is_usable_while_a_node_is_away(void **state) {
    (void)state;
    create_up();
    assert_true(tc_redis_is_usable(r));
    struct tc_redis_watch watch = {.on_change = on_change};
    tc_redis_watch_add(r, &watch);
    changes = 0;
    redis_fake_stop(&nodes->node[1]);
    redis_run_until_cond(&loop, reaches_low_alone, NULL);
    assert_false(tc_redis_is_up(r));
    assert_true(tc_redis_is_usable(r));
    assert_true(changes > 0);
    changes = 0;
    redis_nodes_cut(nodes, 0);
    redis_run_until_cond(&loop, is_unusable, NULL);
    assert_true(changes > 0);
    redis_run_until_cond(&loop, reaches_low_alone, NULL);
    assert_true(tc_redis_is_usable(r));
    tc_redis_watch_remove(r, &watch);
}

static bool is_usable(void *arg) {
    (void)arg;
    return tc_redis_is_usable(r);
}

static void part_at_the_start_is_usable_after_a_moment(void **state) {
    (void)state;
    redis_fake_stop(&nodes->node[1]);
    create();
    redis_run_until_cond(&loop, reaches_low_alone, NULL);
    assert_false(tc_redis_is_usable(r)); /* the others may be on their way */
    redis_run_until_cond(&loop, is_usable, NULL);
    assert_int_equal(probe.ups, 0);
}

static void demoted_node_counts_as_lost(void **state) {
    (void)state;
    create_up();
    nodes->mute = true;
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_for(&loop, 20);
    nodes->mute = false;
    nodes->real.high = nodes->told.high = 2; /* its connection lives */
    nodes->real.low = 1;                     /* makes somebody meet MOVED */
    assert_int_equal(get(redis_nodes_key(false)), 0);
    await_downs(1);
    assert_int_equal(probe.last_err, TC_ELINK);
    int lost = said.err[0] == TC_ELINK ? 0 : 1;
    await_said(2);
    assert_int_equal(said.err[lost], TC_ELINK);
    nodes->real.low = 0;
    redis_probe_await_up(&loop, r);
    assert_string_equal(answer(redis_nodes_key(true)), "2");
}

static void slot_moved_between_masters_is_no_loss(void **state) {
    (void)state;
    nodes->told.low = nodes->real.low = 0;
    create_up();
    nodes->real = nodes->told = (struct redis_halves){1, 0};
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    await_map();
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    assert_string_equal(nodes->heard[1], "GET ");
    assert_int_equal(probe.downs, 0);
}

static void close_fails_what_is_in_flight_once(void **state) {
    (void)state;
    create_up();
    nodes->mute = true;
    assert_int_equal(get(redis_nodes_key(false)), 0);
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_for(&loop, 10);
    redis_probe_close(&loop, r);
    r = NULL;
    assert_int_equal(said.n, 2);
    assert_int_equal(said.err[0], TC_ECLOSED);
    assert_int_equal(said.err[1], TC_ECLOSED);
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

static void on_down_close(void *arg, int err) {
    (void)err;
    tc_redis_close(r, redis_probe_on_closed, arg);
}

static void close_while_a_demoted_node_is_dropped_ends(void **state) {
    (void)state;
    create_up();
    struct redis_probe closer = {.closed = false};
    closer.watch = (struct tc_redis_watch){.on_down = on_down_close, .arg = &closer};
    tc_redis_watch_add(r, &closer.watch);
    nodes->real.high = nodes->told.high = 2;
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_until(&loop, &closer.closed);
    r = NULL;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(key_goes_to_the_owner_of_its_slot, begin, end),
        cmocka_unit_test_setup_teardown(first_seed_away_the_next_is_asked, begin, end),
        cmocka_unit_test_setup_teardown(slots_without_owner_keep_it_down, begin, end),
        cmocka_unit_test_setup_teardown(moved_command_is_repeated_at_the_owner_in_order, begin, end),
        cmocka_unit_test_setup_teardown(moved_refreshes_the_map_once_for_many, begin, end),
        cmocka_unit_test_setup_teardown(moved_while_the_map_is_asked_asks_again, begin, end),
        cmocka_unit_test_setup_teardown(moved_to_a_stranger_is_the_callers, begin, end),
        cmocka_unit_test_setup_teardown(redirected_in_circles_gives_up, begin, end),
        cmocka_unit_test_setup_teardown(ask_is_for_one_command, begin, end),
        cmocka_unit_test_setup_teardown(append_moved_is_not_repeated, begin, end),
        cmocka_unit_test_setup_teardown(transaction_moved_fails_as_a_whole, begin, end),
        cmocka_unit_test_setup_teardown(lost_node_fails_its_commands_once_and_no_others, begin, end),
        cmocka_unit_test_setup_teardown(second_lost_node_is_told_too, begin, end),
        cmocka_unit_test_setup_teardown(part_is_usable_while_a_node_is_away, begin, end),
        cmocka_unit_test_setup_teardown(part_at_the_start_is_usable_after_a_moment, begin, end),
        cmocka_unit_test_setup_teardown(demoted_node_counts_as_lost, begin, end),
        cmocka_unit_test_setup_teardown(slot_moved_between_masters_is_no_loss, begin, end),
        cmocka_unit_test_setup_teardown(close_fails_what_is_in_flight_once, begin, end),
        cmocka_unit_test_setup_teardown(close_at_any_time_ends, begin, end),
        cmocka_unit_test_setup_teardown(close_while_a_demoted_node_is_dropped_ends, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
