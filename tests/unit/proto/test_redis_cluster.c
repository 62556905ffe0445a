/* A Cluster behind redis/redis.h: where commands go, what a moved slot and a lost node do to them. */
#include "redis/redis.h"

#include "redis_play.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct redis_play play;

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
    memset(&said, 0, sizeof(said));
    return redis_play_begin(&play);
}

static int end(void **state) {
    (void)state;
    return redis_play_end(&play);
}

static int get(const char *key) {
    return tc_redis_command(play.r, tc_str_from(key), on_reply, NULL, "GET %s", key);
}

static bool has_said(void *arg) {
    return said.n >= *(int *)arg;
}

static void await_said(int n) {
    redis_run_until_cond(&play.loop, has_said, &n);
}

static const char *answer(const char *key) {
    int n = said.n;
    assert_int_equal(get(key), 0);
    await_said(n + 1);
    assert_int_equal(said.err[n], 0);
    return said.text[n];
}

static bool was_asked(void *arg) {
    return play.nodes.asked >= *(int *)arg;
}

static void await_map(void) {
    int n = play.nodes.asked + 1;
    redis_run_until_cond(&play.loop, was_asked, &n);
    redis_run_for(&play.loop, 20);
}

static bool was_down(void *arg) {
    return play.probe.downs >= *(int *)arg;
}

static void await_downs(int n) {
    redis_run_until_cond(&play.loop, was_down, &n);
}

static void key_goes_to_the_owner_of_its_slot(void **state) {
    (void)state;
    redis_play_create_up(&play);
    assert_int_equal(play.probe.ups, 1);
    assert_string_equal(answer(redis_nodes_key(false)), "0");
    assert_string_equal(answer(redis_nodes_key(true)), "1");
    assert_string_equal(play.nodes.heard[0], "GET ");
    assert_string_equal(play.nodes.heard[1], "GET ");
    assert_int_equal(play.nodes.node[2].accepted, 0);
}

static void first_seed_away_the_next_is_asked(void **state) {
    (void)state;
    char gone[32];
    snprintf(gone, sizeof(gone), "127.0.0.1:%d,", redis_free_port());
    char *at = strstr(play.nodes.url, "127");
    memmove(at + strlen(gone), at, strlen(at) + 1);
    memcpy(at, gone, strlen(gone));
    redis_play_create_up(&play);
    assert_string_equal(answer(redis_nodes_key(true)), "1");
}

static void slots_without_owner_keep_it_down(void **state) {
    (void)state;
    play.nodes.told.high = play.nodes.real.high = -1;
    redis_play_create(&play);
    redis_run_for(&play.loop, 100);
    assert_false(tc_redis_is_up(play.r));
    assert_string_equal(answer(redis_nodes_key(false)), "0"); /* the others can be used */
    assert_int_equal(get(redis_nodes_key(true)), TC_ELINK);
    play.nodes.told.high = play.nodes.real.high = 1;
    redis_probe_await_up(&play.loop, play.r);
    assert_int_equal(play.probe.downs, 0);
}

static void moved_command_is_repeated_at_the_owner_in_order(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.real.high = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(tc_redis_command(play.r, tc_str_from(redis_nodes_key(true)), on_reply, NULL,
                                          i == 1 ? "LLEN %s" : "GET %s", redis_nodes_key(true)),
                         0);
    await_said(3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(said.text[i], "0");
    assert_string_equal(play.nodes.heard[0], "GET LLEN GET ");
}

static void moved_refreshes_the_map_once_for_many(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.real.high = 2;
    play.nodes.told.high = 2;
    for (int i = 0; i < 50; i++)
        assert_int_equal(get(redis_nodes_key(true)), 0);
    await_said(50);
    await_map();
    redis_probe_await_up(&play.loop, play.r);
    assert_true(play.nodes.asked <= 6);
    assert_string_equal(answer(redis_nodes_key(true)), "2");
}

static void moved_while_the_map_is_asked_asks_again(void **state) {
    (void)state;
    redis_play_create_up(&play);
    int asked = play.nodes.asked + 1;
    play.nodes.hold = true;
    play.nodes.real = (struct redis_halves){1, 0};
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    redis_run_until_cond(&play.loop, was_asked, &asked);
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    redis_nodes_release(&play.nodes); /* which still names the former owner */
    play.nodes.told = play.nodes.real;
    uint64_t calm = uv_hrtime() + (uint64_t)3000 * 1000000; /* it asks of its own accord after 4 s at the earliest */
    await_map();
    assert_true(uv_hrtime() < calm);
    play.nodes.heard[1][0] = '\0';
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    assert_string_equal(play.nodes.heard[1], "");
}

static void moved_to_a_stranger_is_the_callers(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.real.high = 2; /* not in the map */
    assert_int_equal(strncmp(answer(redis_nodes_key(true)), "MOVED", 5), 0);
    assert_true(tc_redis_is_up(play.r));
}

static void redirected_in_circles_gives_up(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.circle = true;
    assert_int_equal(strncmp(answer(redis_nodes_key(true)), "MOVED", 5), 0);
    assert_string_equal(play.nodes.heard[0], "GET GET ");
    assert_string_equal(play.nodes.heard[1], "GET GET ");
}

static void ask_is_for_one_command(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.ask = 0;
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    assert_string_equal(play.nodes.heard[1], "GET ");
    assert_string_equal(play.nodes.heard[0], "ASKING GET ");
    play.nodes.ask = -1;
    assert_string_equal(answer(redis_nodes_key(true)), "1");
}

static int append(const char *key) {
    return tc_redis_command(play.r, tc_str_from(key), on_reply, NULL, "XADD %s NOMKSTREAM 1-2 e x", key);
}

/* Rule 7: after a failover the entry might leave a hole. */
static void append_moved_is_not_repeated(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.real.high = 0;
    assert_int_equal(append(redis_nodes_key(true)), 0);
    await_said(1);
    assert_int_equal(strncmp(said.text[0], "MOVED", 5), 0);
    assert_string_equal(play.nodes.heard[0], "");
    play.nodes.real.high = 1;
    play.nodes.ask = 0; /* a migration loses nothing */
    assert_int_equal(append(redis_nodes_key(true)), 0);
    await_said(2);
    assert_string_equal(said.text[1], "0");
}

static void transaction_moved_fails_as_a_whole(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.real.high = 0;
    struct tc_str key = tc_str_from(redis_nodes_key(true));
    assert_int_equal(tc_redis_command(play.r, key, on_reply, NULL, "MULTI"), 0);
    assert_int_equal(get(key.p), 0);
    assert_int_equal(tc_redis_command(play.r, key, on_reply, NULL, "EXEC"), 0);
    assert_int_equal(get(key.p), 0);
    await_said(4);
    assert_int_equal(said.err[0], 0);
    assert_int_equal(said.err[1], TC_ELINK);
    assert_int_equal(said.err[2], TC_ELINK);
    assert_string_equal(said.text[3], "0");
    assert_string_equal(play.nodes.heard[1], "MULTI GET EXEC GET ");
    assert_string_equal(play.nodes.heard[0], "GET ");
}

static void lost_node_fails_its_commands_once_and_no_others(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.mute = true;
    assert_int_equal(get(redis_nodes_key(false)), 0);
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_for(&play.loop, 20);
    redis_nodes_cut(&play.nodes, 1);
    await_downs(1);
    assert_int_equal(said.n, 1);
    assert_int_equal(said.err[0], TC_ELINK);
    assert_false(tc_redis_is_up(play.r));
    assert_int_equal(get(redis_nodes_key(true)), TC_ELINK);
    assert_int_equal(get(redis_nodes_key(false)), 0);
    redis_probe_await_up(&play.loop, play.r);
    assert_int_equal(play.probe.ups, 2);
}

static void second_lost_node_is_told_too(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.told.high = play.nodes.real.high = -1; /* keeps it down */
    redis_nodes_cut(&play.nodes, 1);
    await_downs(1);
    await_map();
    assert_false(tc_redis_is_up(play.r));
    int downs = play.probe.downs, ups = play.probe.ups;
    redis_nodes_cut(&play.nodes, 0);
    await_downs(downs + 1);
    assert_int_equal(play.probe.ups, ups);
}

static bool reaches_low_alone(void *arg) {
    (void)arg;
    return tc_redis_reaches(play.r, tc_str_from(redis_nodes_key(false))) &&
           !tc_redis_reaches(play.r, tc_str_from(redis_nodes_key(true)));
}

static bool is_unusable(void *arg) {
    (void)arg;
    return !tc_redis_is_usable(play.r);
}

static int changes;

static void on_change(void *arg) {
    (void)arg;
    changes++;
}

static void part_is_usable_while_a_node_is_away(void **state) {
    (void)state;
    redis_play_create_up(&play);
    assert_true(tc_redis_is_usable(play.r));
    struct tc_redis_watch watch = {.on_change = on_change};
    tc_redis_watch_add(play.r, &watch);
    changes = 0;
    redis_fake_stop(&play.nodes.node[1]);
    redis_run_until_cond(&play.loop, reaches_low_alone, NULL);
    assert_false(tc_redis_is_up(play.r));
    assert_true(tc_redis_is_usable(play.r));
    assert_true(changes > 0);
    changes = 0;
    redis_nodes_cut(&play.nodes, 0);
    redis_run_until_cond(&play.loop, is_unusable, NULL);
    assert_true(changes > 0);
    redis_run_until_cond(&play.loop, reaches_low_alone, NULL);
    assert_true(tc_redis_is_usable(play.r));
    tc_redis_watch_remove(play.r, &watch);
}

static bool is_usable(void *arg) {
    (void)arg;
    return tc_redis_is_usable(play.r);
}

static void part_at_the_start_is_usable_after_a_moment(void **state) {
    (void)state;
    redis_fake_stop(&play.nodes.node[1]);
    redis_play_create(&play);
    redis_run_until_cond(&play.loop, reaches_low_alone, NULL);
    assert_false(tc_redis_is_usable(play.r)); /* the others may be on their way */
    redis_run_until_cond(&play.loop, is_usable, NULL);
    assert_int_equal(play.probe.ups, 0);
}

static void demoted_node_counts_as_lost(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.mute = true;
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_for(&play.loop, 20);
    play.nodes.mute = false;
    play.nodes.real.high = play.nodes.told.high = 2; /* its connection lives */
    play.nodes.real.low = 1;                         /* makes somebody meet MOVED */
    assert_int_equal(get(redis_nodes_key(false)), 0);
    await_downs(1);
    assert_int_equal(play.probe.last_err, TC_ELINK);
    int lost = said.err[0] == TC_ELINK ? 0 : 1;
    await_said(2);
    assert_int_equal(said.err[lost], TC_ELINK);
    play.nodes.real.low = 0;
    redis_probe_await_up(&play.loop, play.r);
    assert_string_equal(answer(redis_nodes_key(true)), "2");
}

static void slot_moved_between_masters_is_no_loss(void **state) {
    (void)state;
    play.nodes.told.low = play.nodes.real.low = 0;
    redis_play_create_up(&play);
    play.nodes.real = play.nodes.told = (struct redis_halves){1, 0};
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    await_map();
    assert_string_equal(answer(redis_nodes_key(true)), "0");
    assert_string_equal(play.nodes.heard[1], "GET ");
    assert_int_equal(play.probe.downs, 0);
}

static void close_fails_what_is_in_flight_once(void **state) {
    (void)state;
    redis_play_create_up(&play);
    play.nodes.mute = true;
    assert_int_equal(get(redis_nodes_key(false)), 0);
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_for(&play.loop, 10);
    redis_play_close(&play);
    assert_int_equal(said.n, 2);
    assert_int_equal(said.err[0], TC_ECLOSED);
    assert_int_equal(said.err[1], TC_ECLOSED);
}

static void close_at_any_time_ends(void **state) {
    (void)state;
    redis_play_close_early(&play);
}

static void on_down_close(void *arg, int err) {
    (void)err;
    tc_redis_close(play.r, redis_probe_on_closed, arg);
}

static void close_while_a_demoted_node_is_dropped_ends(void **state) {
    (void)state;
    redis_play_create_up(&play);
    struct redis_probe closer = {.closed = false};
    closer.watch = (struct tc_redis_watch){.on_down = on_down_close, .arg = &closer};
    tc_redis_watch_add(play.r, &closer.watch);
    play.nodes.real.high = play.nodes.told.high = 2;
    assert_int_equal(get(redis_nodes_key(true)), 0);
    redis_run_until(&play.loop, &closer.closed);
    play.r = NULL;
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
