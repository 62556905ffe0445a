/* Subscriptions in a Cluster: at the owner of the channel's slot, and after it when the slot moves. */
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

static int begin(void **state) {
    (void)state;
    return redis_play_begin(&play);
}

static int end(void **state) {
    (void)state;
    return redis_play_end(&play);
}

static void tell(int node, const char *kind, const char *channel, const char *payload) {
    char text[128];
    snprintf(text, sizeof(text), "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n", strlen(kind), kind,
             strlen(channel), channel, strlen(payload), payload);
    for (struct redis_fake_peer *p = play.nodes.node[node].peers; p; p = p->next)
        if (p->subscribed)
            redis_fake_say(p, text);
}

static void create_listening(struct redis_ear *a) {
    redis_play_create_up(&play);
    redis_ear_listen(play.r, a, redis_nodes_key(true));
    redis_ear_await(&play.loop, &a->ready, 1);
}

static void channel_is_subscribed_at_its_owner(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0}, b = {.ready = 0};
    redis_play_create_up(&play);
    redis_ear_listen(play.r, &a, redis_nodes_key(false));
    redis_ear_listen(play.r, &b, redis_nodes_key(true));
    redis_ear_await(&play.loop, &a.ready, 1);
    redis_ear_await(&play.loop, &b.ready, 1);
    assert_string_equal(play.nodes.heard[0], "SSUBSCRIBE ");
    assert_string_equal(play.nodes.heard[1], "SSUBSCRIBE ");
    tell(1, "smessage", redis_nodes_key(true), "hi");
    redis_ear_await(&play.loop, &b.messages, 1);
    assert_string_equal(b.last, "hi");
    assert_int_equal(a.messages, 0);
    tc_redis_unsubscribe(play.r, &b.sub);
    redis_run_for(&play.loop, 20);
    assert_string_equal(play.nodes.heard[1], "SSUBSCRIBE SUNSUBSCRIBE ");
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void publish_is_spublish_at_the_owner(void **state) {
    (void)state;
    redis_play_create_up(&play);
    struct tc_str key = tc_str_from(redis_nodes_key(true));
    assert_int_equal(tc_redis_publish(play.r, key, key.p, TC_STR("hi")), 0);
    redis_run_for(&play.loop, 20);
    assert_string_equal(play.nodes.heard[1], "SPUBLISH ");
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void channel_of_an_unknown_slot_waits_for_the_map(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    play.nodes.told.high = -1;
    const struct tc_redis_options opts = {
        .url = play.nodes.url, .backoff_min_ms = 2, .backoff_max_ms = 20, .pubsub = true};
    assert_int_equal(tc_redis_create(&play.r, &play.loop, &opts), 0);
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    redis_run_for(&play.loop, 50);
    assert_int_equal(a.ready, 0);
    play.nodes.told.high = 1;
    redis_ear_await(&play.loop, &a.ready, 1);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

/* The server says so by itself when it gives a slot away. */
static void slot_given_away_moves_the_subscription(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    create_listening(&a);
    play.nodes.real.high = play.nodes.told.high = 0;
    play.nodes.real.low = play.nodes.told.low = 1;
    tell(1, "sunsubscribe", redis_nodes_key(true), "0");
    redis_ear_await(&play.loop, &a.ready, 2);
    tell(1, "smessage", redis_nodes_key(true), "from the former home");
    tell(0, "smessage", redis_nodes_key(true), "hi");
    redis_ear_await(&play.loop, &a.messages, 1);
    redis_run_for(&play.loop, 20);
    assert_string_equal(a.last, "hi");
    assert_int_equal(a.messages, 1);
    assert_int_equal(play.probe.downs, 0);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void subscribing_at_a_former_owner_moves_on(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0}, b = {.ready = 0};
    redis_play_create_up(&play);
    redis_ear_listen(play.r, &b, redis_nodes_key(false));
    redis_ear_await(&play.loop, &b.ready, 1);
    play.nodes.real.high = play.nodes.told.high = 0; /* and 1 has nothing any more */
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    redis_ear_await(&play.loop, &a.ready, 1);
    assert_int_equal(b.ready, 1);
    assert_string_equal(play.nodes.heard[0], "SSUBSCRIBE SSUBSCRIBE ");
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void map_that_lags_is_asked_again(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    redis_play_create_up(&play);
    play.nodes.real = (struct redis_halves){1, 0};
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    uint64_t began = uv_hrtime();
    redis_run_for(&play.loop, 250); /* a few answers that name the former owner */
    uint64_t took_ms = (uv_hrtime() - began) / 1000000;
    assert_int_equal(a.ready, 0);
    assert_in_range(play.nodes.asked, 2, took_ms / 25 + 2);
    play.nodes.told = play.nodes.real;
    redis_ear_await(&play.loop, &a.ready, 1);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void ended_by_the_server_without_a_move_subscribes_again(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    create_listening(&a);
    tell(1, "sunsubscribe", redis_nodes_key(true), "0");
    redis_ear_await(&play.loop, &a.ready, 2);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void refused_by_an_owner_that_has_its_slot_back_subscribes_again(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    redis_play_create_up(&play);
    play.nodes.real.high = 0;
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    redis_run_for(&play.loop, 20);
    play.nodes.real.high = 1;
    redis_ear_await(&play.loop, &a.ready, 1);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void cluster_down_is_waited_for_on_the_same_link(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    redis_play_create_up(&play);
    int accepted = play.nodes.node[1].accepted;
    play.nodes.real.high = -1;
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    redis_run_for(&play.loop, 100);
    assert_false(tc_redis_is_up(play.r));
    play.nodes.real.high = 1;
    redis_ear_await(&play.loop, &a.ready, 1);
    redis_probe_await_up(&play.loop, play.r);
    assert_int_equal(play.nodes.node[1].accepted, accepted);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void lost_node_is_subscribed_again(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0}, b = {.ready = 0};
    redis_play_create_up(&play);
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    redis_ear_listen(play.r, &b, redis_nodes_key(false));
    redis_ear_await(&play.loop, &a.ready, 1);
    redis_ear_await(&play.loop, &b.ready, 1);
    redis_nodes_cut(&play.nodes, 1);
    redis_ear_await(&play.loop, &a.ready, 2);
    assert_int_equal(b.ready, 1);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

static void unsubscribe_while_homeless_leaves_nothing(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    create_listening(&a);
    tell(1, "sunsubscribe", redis_nodes_key(true), "0");
    redis_run_for(&play.loop, 2);
    tc_redis_unsubscribe(play.r, &a.sub);
    redis_run_for(&play.loop, 150);
    redis_ear_listen(play.r, &a, redis_nodes_key(true));
    redis_ear_await(&play.loop, &a.ready, 2);
    redis_play_close(&play); /* while the subscribers' memory is still there */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(channel_is_subscribed_at_its_owner, begin, end),
        cmocka_unit_test_setup_teardown(publish_is_spublish_at_the_owner, begin, end),
        cmocka_unit_test_setup_teardown(channel_of_an_unknown_slot_waits_for_the_map, begin, end),
        cmocka_unit_test_setup_teardown(slot_given_away_moves_the_subscription, begin, end),
        cmocka_unit_test_setup_teardown(subscribing_at_a_former_owner_moves_on, begin, end),
        cmocka_unit_test_setup_teardown(map_that_lags_is_asked_again, begin, end),
        cmocka_unit_test_setup_teardown(ended_by_the_server_without_a_move_subscribes_again, begin, end),
        cmocka_unit_test_setup_teardown(refused_by_an_owner_that_has_its_slot_back_subscribes_again, begin, end),
        cmocka_unit_test_setup_teardown(cluster_down_is_waited_for_on_the_same_link, begin, end),
        cmocka_unit_test_setup_teardown(lost_node_is_subscribed_again, begin, end),
        cmocka_unit_test_setup_teardown(unsubscribe_while_homeless_leaves_nothing, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
