/* Subscriptions of redis/redis.h against a real redis-server. */
#include "redis/redis.h"

#include "redis_ear.h"
#include "redis_fixture.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct redis_server server;
static uv_loop_t loop;
static struct tc_redis_options opts;
static struct tc_redis *r;

static int start_all(void **state) {
    (void)state;
    redis_server_init(&server);
    redis_server_start(&server);
    return 0;
}

static int stop_all(void **state) {
    (void)state;
    redis_server_fini(&server);
    return 0;
}

static int begin(void **state) {
    (void)state;
    memset(&opts, 0, sizeof(opts));
    opts.url = server.url;
    opts.pubsub = true;
    opts.backoff_min_ms = 5;
    opts.backoff_max_ms = 50;
    r = NULL;
    return uv_loop_init(&loop);
}

static int end(void **state) {
    (void)state;
    redis_loop_end(&loop);
    return 0;
}

static void create_up(void) {
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    redis_probe_await_up(&loop, r);
}

/* While the subscribers' memory is still there. */
static void close_link(void) {
    redis_probe_close(&loop, r);
    r = NULL;
}

static void publish(const char *channel, const char *text) {
    char command[128];
    snprintf(command, sizeof(command), "PUBLISH %s %s", channel, text);
    redis_server_do(&server, command);
}

static bool nobody_hears(void *arg) {
    char command[128];
    snprintf(command, sizeof(command), "PUBLISH %s probe", (const char *)arg);
    return redis_server_do(&server, command) == 0;
}

/* ---- the real one ---- */

static void subscriber_is_ready_then_hears(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    create_up();
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &a.ready, 1);
    publish("ch", "one");
    publish("other", "two");
    publish("ch", "three");
    redis_ear_await(&loop, &a.messages, 2);
    assert_string_equal(a.last, "three");
    assert_int_equal(a.ready, 1);
    assert_int_equal(tc_redis_stats(r)->messages, 2);
    close_link();
}

static void subscribers_of_one_channel_share_it(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0}, b = {.ready = 0};
    create_up();
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &a.ready, 1);
    redis_ear_listen(r, &b, "ch"); /* a later one is told of its own, the first not again */
    redis_ear_await(&loop, &b.ready, 1);
    assert_int_equal(a.ready, 1);
    publish("ch", "x");
    redis_ear_await(&loop, &a.messages, 1);
    redis_ear_await(&loop, &b.messages, 1);
    assert_int_equal(redis_server_do(&server, "PUBLISH ch y"), 1); /* one receiver: one SUBSCRIBE */
    tc_redis_unsubscribe(r, &a.sub);
    tc_redis_unsubscribe(r, &a.sub); /* idempotent */
    redis_ear_await(&loop, &b.messages, 2);
    assert_int_equal(a.messages, 1);
    tc_redis_unsubscribe(r, &b.sub);
    char channel[] = "ch";
    redis_run_until_cond(&loop, nobody_hears, channel);
    close_link();
}

static void subscribing_while_down_is_ready_when_up(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0}, gone = {.ready = 0};
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    redis_ear_listen(r, &a, "early");
    redis_ear_listen(r, &gone, "never");
    tc_redis_unsubscribe(r, &gone.sub);
    redis_ear_await(&loop, &a.ready, 1);
    redis_probe_await_up(&loop, r);
    assert_int_equal(redis_server_do(&server, "PUBLISH never x"), 0);
    assert_int_equal(gone.ready, 0);
    close_link();
}

static void take_command(struct redis_ear *ear) {
    (void)ear;
    assert_int_equal(tc_redis_command(r, TC_STR("k"), NULL, NULL, "PING"), 0);
}

static void restart_subscribes_all_again(void **state) {
    (void)state;
    enum { N = 3000 }; /* more than one SUBSCRIBE's worth */
    struct redis_ear *ears = calloc(N, sizeof(*ears));
    struct redis_probe probe;
    char name[64];
    create_up();
    redis_probe_attach(&probe, r);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "tc:{generation-%d}:bell", i);
        ears[i].on_ready = take_command; /* commands are possible whenever a subscriber is told */
        redis_ear_listen(r, &ears[i], name);
    }
    redis_ear_await(&loop, &ears[N - 1].ready, 1);
    redis_server_kill(&server);
    redis_ear_await(&loop, &probe.downs, 1);
    redis_server_start(&server);
    redis_ear_await(&loop, &probe.ups, 1);
    for (int i = 0; i < N; i++)
        assert_int_equal(ears[i].ready, 2);
    publish("tc:{generation-0}:bell", "again");
    publish("tc:{generation-2999}:bell", "again");
    redis_ear_await(&loop, &ears[0].messages, 1);
    redis_ear_await(&loop, &ears[N - 1].messages, 1);
    assert_int_equal(probe.downs, 1);
    close_link();
    free(ears);
}

static void unsubscribe_all(struct redis_ear *ear) {
    tc_redis_unsubscribe(r, &ear->sub);
    if (ear->other)
        tc_redis_unsubscribe(r, &ear->other->sub);
}

static void unsubscribing_oneself_and_the_next_in_a_message_is_allowed(void **state) {
    (void)state;
    struct redis_ear b = {.ready = 0}, a = {.then = unsubscribe_all, .other = &b}, c = {.ready = 0};
    create_up();
    redis_ear_listen(r, &a, "ch");
    redis_ear_listen(r, &b, "ch");
    redis_ear_listen(r, &c, "ch");
    redis_ear_await(&loop, &c.ready, 1);
    publish("ch", "x");
    redis_ear_await(&loop, &c.messages, 1);
    assert_int_equal(a.messages, 1);
    assert_int_equal(b.messages, 0);
    close_link();
}

static void free_other(struct redis_ear *ear) {
    if (!ear->other)
        return;
    tc_redis_unsubscribe(r, &ear->other->sub);
    free(ear->other);
    ear->other = NULL;
}

static struct {
    const struct redis_ear *of;
    unsigned calls[TC_REDIS_DEPTHS];
    int first_at; /* messages that `of` had heard when it was first asked */
} asked;

static void note_ahead(void *arg, unsigned depth) {
    assert_ptr_equal(arg, asked.of);
    if (asked.first_at < 0)
        asked.first_at = asked.of->messages;
    asked.calls[depth]++;
}

/* What is looked at ahead of time for the messages of one read may be gone when its turn comes. */
static void messages_of_one_read_are_asked_for_ahead_and_may_free_a_later_ones_subscriber(void **state) {
    (void)state;
    struct redis_ear *gone = calloc(1, sizeof(*gone));
    struct redis_ear a = {.then = free_other, .other = gone};
    assert_non_null(gone);
    create_up();
    redis_ear_listen(r, &a, "a");
    redis_ear_listen(r, gone, "b");
    a.sub.ahead = note_ahead;
    asked.of = &a;
    asked.first_at = -1;
    memset(asked.calls, 0, sizeof(asked.calls));
    redis_ear_await(&loop, &gone->ready, 1);
    redis_ear_await(&loop, &a.ready, 1);
    static const char script[] = "for i = 1, 3 do redis.call('publish', 'a', i) redis.call('publish', 'b', i) end";
    assert_int_equal(tc_redis_command(r, TC_STR("k"), NULL, NULL, "EVAL %s 0", script), 0);
    redis_ear_await(&loop, &a.messages, 3);
    assert_string_equal(a.last, "3");
    assert_null(a.other);
    assert_int_equal(asked.first_at, 0);
    for (unsigned depth = 0; depth < TC_REDIS_DEPTHS; depth++)
        assert_int_equal(asked.calls[depth], 3);
    close_link();
}

static void unsubscribing_the_last_in_on_ready_is_allowed(void **state) {
    (void)state;
    struct redis_ear b = {.ready = 0}, a = {.on_ready = unsubscribe_all, .other = &b};
    create_up();
    redis_ear_listen(r, &a, "ch");
    redis_ear_listen(r, &b, "ch");
    redis_ear_await(&loop, &a.ready, 1);
    char channel[] = "ch";
    redis_run_until_cond(&loop, nobody_hears, channel);
    assert_int_equal(b.ready, 0);
    close_link();
}

static void subscribe_other(struct redis_ear *ear) {
    if (ear->messages == 1)
        redis_ear_listen(r, ear->other, "ch");
}

static void subscribing_in_a_message_hears_the_next_one(void **state) {
    (void)state;
    struct redis_ear b = {.ready = 0}, a = {.then = subscribe_other, .other = &b};
    create_up();
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &a.ready, 1);
    publish("ch", "x");
    redis_ear_await(&loop, &b.ready, 1);
    assert_int_equal(b.messages, 0);
    publish("ch", "y");
    redis_ear_await(&loop, &b.messages, 1);
    close_link();
}

static bool closed;

static void on_closed(void *arg) {
    (void)arg;
    closed = true;
}

static void close_all(struct redis_ear *ear) {
    tc_redis_close(r, on_closed, NULL);
    tc_redis_unsubscribe(r, &ear->sub); /* still harmless: the link lives until its callback */
}

static void closing_in_a_message_or_on_ready_calls_nobody_else(void **state) {
    (void)state;
    for (int in_ready = 0; in_ready < 2; in_ready++) {
        struct redis_ear a = {.ready = 0}, b = {.ready = 0};
        if (in_ready)
            a.on_ready = close_all;
        else
            a.then = close_all;
        closed = false;
        create_up();
        redis_ear_listen(r, &a, "ch");
        redis_ear_listen(r, &b, "ch");
        if (!in_ready) {
            redis_ear_await(&loop, &b.ready, 1);
            publish("ch", "x");
            publish("ch", "y");
        }
        redis_run_until(&loop, &closed);
        assert_int_equal(b.messages, 0);
        if (in_ready)
            assert_int_equal(b.ready, 0);
        r = NULL;
    }
}

static void unsubscribe_and_subscribe_again_is_ready_once_for_good(void **state) {
    (void)state;
    struct redis_ear a = {.ready = 0};
    create_up();
    for (int i = 0; i < 10; i++) {
        redis_ear_listen(r, &a, "ch");
        tc_redis_unsubscribe(r, &a.sub);
    }
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &a.ready, 1);
    /* Ready means now: all the earlier answers are past. */
    assert_int_equal(redis_server_do(&server, "PUBLISH ch x"), 1);
    redis_ear_await(&loop, &a.messages, 1);
    assert_int_equal(a.ready, 1);
    close_link();
}

static void channel_that_the_access_list_forbids_keeps_the_link_down(void **state) {
    (void)state;
    char url[192];
    struct redis_ear a = {.ready = 0};
    redis_server_do(&server, "ACL SETUSER deaf on >p ~* +@all resetchannels");
    snprintf(url, sizeof(url), "unix://deaf:p@%s", server.sock);
    opts.url = url;
    create_up();
    struct redis_probe probe;
    redis_probe_attach(&probe, r);
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &probe.downs, 1);
    assert_int_equal(probe.last_err, TC_EREDIS);
    assert_int_equal(a.ready, 0);
    close_link();
}

static void server_that_stands_still_is_noticed_without_any_command(void **state) {
    (void)state;
    struct redis_probe probe;
    struct redis_ear a = {.ready = 0};
    opts.command_timeout_ms = 60;
    opts.connect_timeout_ms = 200;
    create_up();
    redis_probe_attach(&probe, r);
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &a.ready, 1);
    redis_run_for(&loop, 300); /* quiet is no loss: PINGs are answered */
    assert_int_equal(probe.downs, 0);
    kill(server.pid, SIGSTOP);
    redis_ear_await(&loop, &probe.downs, 1);
    assert_int_equal(probe.last_err, TC_ETIMEOUT);
    kill(server.pid, SIGCONT);
    redis_ear_await(&loop, &probe.ups, 1);
    redis_ear_await(&loop, &a.ready, 2);
    close_link();
}

static void close_at_every_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        struct redis_ear a = {.ready = 0}, b = {.ready = 0};
        assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
        redis_ear_listen(r, &a, "ch");
        for (int i = 0; i < turns; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            if (i == turns / 2)
                redis_ear_listen(r, &b, "ch");
            uv_sleep(turns > 30);
        }
        if (turns % 3 == 0)
            tc_redis_unsubscribe(r, &a.sub);
        close_link();
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(subscriber_is_ready_then_hears),
        TEST(subscribers_of_one_channel_share_it),
        TEST(subscribing_while_down_is_ready_when_up),
        TEST(restart_subscribes_all_again),
        TEST(unsubscribing_oneself_and_the_next_in_a_message_is_allowed),
        TEST(messages_of_one_read_are_asked_for_ahead_and_may_free_a_later_ones_subscriber),
        TEST(unsubscribing_the_last_in_on_ready_is_allowed),
        TEST(subscribing_in_a_message_hears_the_next_one),
        TEST(closing_in_a_message_or_on_ready_calls_nobody_else),
        TEST(unsubscribe_and_subscribe_again_is_ready_once_for_good),
        TEST(channel_that_the_access_list_forbids_keeps_the_link_down),
        TEST(server_that_stands_still_is_noticed_without_any_command),
        TEST(close_at_every_turn_ends_clean),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
