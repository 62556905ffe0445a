/* Subscriptions of redis/redis.h, against a real redis-server and against one that answers on demand. */
#include "redis/redis.h"

#include "redis_fake.h"
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

/* A subscriber that counts, and on its n-th event of a kind does something. */
struct ear {
    struct tc_redis_sub sub;
    int ready, messages;
    char last[64];
    void (*then)(struct ear *ear); /* after each message */
    void (*on_ready)(struct ear *ear);
    struct ear *other;
};

static void on_message(void *arg, struct tc_str payload) {
    struct ear *ear = arg;
    assert_true(ear->ready > 0); /* never before on_ready */
    ear->messages++;
    snprintf(ear->last, sizeof(ear->last), "%.*s", (int)payload.n, payload.p);
    if (ear->then)
        ear->then(ear);
}

static void on_ready(void *arg) {
    struct ear *ear = arg;
    ear->ready++;
    if (ear->on_ready)
        ear->on_ready(ear);
}

static void listen_to(struct ear *ear, const char *channel) {
    ear->sub.on_message = on_message;
    ear->sub.on_ready = on_ready;
    ear->sub.arg = ear;
    int before = ear->ready;
    assert_int_equal(tc_redis_subscribe(r, &ear->sub, channel), 0);
    assert_int_equal(ear->ready, before); /* later, never from the call */
}

struct want {
    const int *n;
    int at_least;
};

static bool is_enough(void *arg) {
    struct want *w = arg;
    return *w->n >= w->at_least;
}

static void await_count(const int *n, int at_least) {
    struct want w = {n, at_least};
    redis_run_until_cond(&loop, is_enough, &w);
}

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
    struct ear a = {.ready = 0};
    create_up();
    listen_to(&a, "ch");
    await_count(&a.ready, 1);
    publish("ch", "one");
    publish("other", "two");
    publish("ch", "three");
    await_count(&a.messages, 2);
    assert_string_equal(a.last, "three");
    assert_int_equal(a.ready, 1);
    assert_int_equal(tc_redis_stats(r)->messages, 2);
    close_link();
}

static void subscribers_of_one_channel_share_it(void **state) {
    (void)state;
    struct ear a = {.ready = 0}, b = {.ready = 0};
    create_up();
    listen_to(&a, "ch");
    await_count(&a.ready, 1);
    listen_to(&b, "ch"); /* a later one is told of its own, the first not again */
    await_count(&b.ready, 1);
    assert_int_equal(a.ready, 1);
    publish("ch", "x");
    await_count(&a.messages, 1);
    await_count(&b.messages, 1);
    assert_int_equal(redis_server_do(&server, "PUBLISH ch y"), 1); /* one receiver: one SUBSCRIBE */
    tc_redis_unsubscribe(r, &a.sub);
    tc_redis_unsubscribe(r, &a.sub); /* idempotent */
    await_count(&b.messages, 2);
    assert_int_equal(a.messages, 1);
    tc_redis_unsubscribe(r, &b.sub);
    char channel[] = "ch";
    redis_run_until_cond(&loop, nobody_hears, channel);
    close_link();
}

static void subscribing_while_down_is_ready_when_up(void **state) {
    (void)state;
    struct ear a = {.ready = 0}, gone = {.ready = 0};
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    listen_to(&a, "early");
    listen_to(&gone, "never");
    tc_redis_unsubscribe(r, &gone.sub);
    await_count(&a.ready, 1);
    redis_probe_await_up(&loop, r);
    assert_int_equal(redis_server_do(&server, "PUBLISH never x"), 0);
    assert_int_equal(gone.ready, 0);
    close_link();
}

static void take_command(struct ear *ear) {
    (void)ear;
    assert_int_equal(tc_redis_command(r, TC_STR("k"), NULL, NULL, "PING"), 0);
}

static void restart_subscribes_all_again(void **state) {
    (void)state;
    enum { N = 3000 }; /* more than one SUBSCRIBE's worth */
    struct ear *ears = calloc(N, sizeof(*ears));
    struct redis_probe probe;
    char name[64];
    create_up();
    redis_probe_attach(&probe, r);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof(name), "tc:{generation-%d}:bell", i);
        ears[i].on_ready = take_command; /* commands are possible whenever a subscriber is told */
        listen_to(&ears[i], name);
    }
    await_count(&ears[N - 1].ready, 1);
    redis_server_kill(&server);
    await_count(&probe.downs, 1);
    redis_server_start(&server);
    await_count(&probe.ups, 1);
    for (int i = 0; i < N; i++)
        assert_int_equal(ears[i].ready, 2);
    publish("tc:{generation-0}:bell", "again");
    publish("tc:{generation-2999}:bell", "again");
    await_count(&ears[0].messages, 1);
    await_count(&ears[N - 1].messages, 1);
    assert_int_equal(probe.downs, 1);
    close_link();
    free(ears);
}

static void unsubscribe_all(struct ear *ear) {
    tc_redis_unsubscribe(r, &ear->sub);
    if (ear->other)
        tc_redis_unsubscribe(r, &ear->other->sub);
}

static void unsubscribing_oneself_and_the_next_in_a_message_is_allowed(void **state) {
    (void)state;
    struct ear b = {.ready = 0}, a = {.then = unsubscribe_all, .other = &b}, c = {.ready = 0};
    create_up();
    listen_to(&a, "ch");
    listen_to(&b, "ch");
    listen_to(&c, "ch");
    await_count(&c.ready, 1);
    publish("ch", "x");
    await_count(&c.messages, 1);
    assert_int_equal(a.messages, 1);
    assert_int_equal(b.messages, 0);
    close_link();
}

static void unsubscribing_the_last_in_on_ready_is_allowed(void **state) {
    (void)state;
    struct ear b = {.ready = 0}, a = {.on_ready = unsubscribe_all, .other = &b};
    create_up();
    listen_to(&a, "ch");
    listen_to(&b, "ch");
    await_count(&a.ready, 1);
    char channel[] = "ch";
    redis_run_until_cond(&loop, nobody_hears, channel);
    assert_int_equal(b.ready, 0);
    close_link();
}

static void subscribe_other(struct ear *ear) {
    if (ear->messages == 1)
        listen_to(ear->other, "ch");
}

static void subscribing_in_a_message_hears_the_next_one(void **state) {
    (void)state;
    struct ear b = {.ready = 0}, a = {.then = subscribe_other, .other = &b};
    create_up();
    listen_to(&a, "ch");
    await_count(&a.ready, 1);
    publish("ch", "x");
    await_count(&b.ready, 1);
    assert_int_equal(b.messages, 0);
    publish("ch", "y");
    await_count(&b.messages, 1);
    close_link();
}

static bool closed;

static void on_closed(void *arg) {
    (void)arg;
    closed = true;
}

static void close_all(struct ear *ear) {
    tc_redis_close(r, on_closed, NULL);
    tc_redis_unsubscribe(r, &ear->sub); /* still harmless: the link lives until its callback */
}

static void closing_in_a_message_or_on_ready_calls_nobody_else(void **state) {
    (void)state;
    for (int in_ready = 0; in_ready < 2; in_ready++) {
        struct ear a = {.ready = 0}, b = {.ready = 0};
        if (in_ready)
            a.on_ready = close_all;
        else
            a.then = close_all;
        closed = false;
        create_up();
        listen_to(&a, "ch");
        listen_to(&b, "ch");
        if (!in_ready) {
            await_count(&b.ready, 1);
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
    struct ear a = {.ready = 0};
    create_up();
    for (int i = 0; i < 10; i++) {
        listen_to(&a, "ch");
        tc_redis_unsubscribe(r, &a.sub);
    }
    listen_to(&a, "ch");
    await_count(&a.ready, 1);
    /* Ready means now: all the earlier answers are past. */
    assert_int_equal(redis_server_do(&server, "PUBLISH ch x"), 1);
    await_count(&a.messages, 1);
    assert_int_equal(a.ready, 1);
    close_link();
}

static void channel_that_the_access_list_forbids_keeps_the_link_down(void **state) {
    (void)state;
    char url[192];
    struct ear a = {.ready = 0};
    redis_server_do(&server, "ACL SETUSER deaf on >p ~* +@all resetchannels");
    snprintf(url, sizeof(url), "unix://deaf:p@%s", server.sock);
    opts.url = url;
    create_up();
    struct redis_probe probe;
    redis_probe_attach(&probe, r);
    listen_to(&a, "ch");
    await_count(&probe.downs, 1);
    assert_int_equal(probe.last_err, TC_EREDIS);
    assert_int_equal(a.ready, 0);
    close_link();
}

static void server_that_stands_still_is_noticed_without_any_command(void **state) {
    (void)state;
    struct redis_probe probe;
    struct ear a = {.ready = 0};
    opts.command_timeout_ms = 60;
    opts.connect_timeout_ms = 200;
    create_up();
    redis_probe_attach(&probe, r);
    listen_to(&a, "ch");
    await_count(&a.ready, 1);
    redis_run_for(&loop, 300); /* quiet is no loss: PINGs are answered */
    assert_int_equal(probe.downs, 0);
    kill(server.pid, SIGSTOP);
    await_count(&probe.downs, 1);
    assert_int_equal(probe.last_err, TC_ETIMEOUT);
    kill(server.pid, SIGCONT);
    await_count(&probe.ups, 1);
    await_count(&a.ready, 2);
    close_link();
}

/* ---- the scripted one ---- */

/* Answers SUBSCRIBE with half a confirmation and a reset, on the first subscribing connection; later ones properly. */
static void reset_in_half_a_confirmation(struct redis_fake_peer *p, const redisReply *command) {
    int *times = p->fake->arg;
    if (redis_fake_is(command, "SUBSCRIBE")) {
        redis_fake_say(p, "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n");
        if ((*times)++ == 0)
            redis_fake_reset(p);
        else
            redis_fake_say(p, ":1\r\n*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$5\r\nhello\r\n");
    } else if (redis_fake_is(command, "PING") && command->elements == 2) {
        redis_fake_say(p, "$10\r\nsubscribed\r\n");
    } else if (!redis_fake_is(command, "UNSUBSCRIBE")) {
        redis_fake_greet(p, command);
    }
}

static void reset_in_half_a_confirmation_subscribes_again(void **state) {
    (void)state;
    int times = 0;
    struct redis_fake fake = {.on_command = reset_in_half_a_confirmation, .arg = &times};
    struct ear a = {.ready = 0};
    redis_fake_start(&fake, &loop);
    opts.url = fake.url;
    create_up();
    listen_to(&a, "ch");
    await_count(&a.messages, 1);
    assert_int_equal(a.ready, 1);
    assert_int_equal(times, 2);
    close_link();
    redis_fake_stop(&fake);
}

static void confirm_only_the_first(struct redis_fake_peer *p, const redisReply *command) {
    int *times = p->fake->arg;
    if (redis_fake_is(command, "SUBSCRIBE")) {
        if ((*times)++ == 0)
            redis_fake_say(p, "*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    } else if (redis_fake_is(command, "PING") && command->elements == 2) {
        redis_fake_say(p, "$10\r\nsubscribed\r\n");
    } else if (!redis_fake_is(command, "UNSUBSCRIBE")) {
        redis_fake_greet(p, command);
    }
}

static bool is_subscribed_twice(void *arg) {
    return *(int *)arg == 2;
}

static void confirmation_of_an_earlier_subscribe_makes_nobody_ready(void **state) {
    (void)state;
    int times = 0;
    struct redis_fake fake = {.on_command = confirm_only_the_first, .arg = &times};
    struct ear a = {.ready = 0};
    redis_fake_start(&fake, &loop);
    opts.url = fake.url;
    create_up();
    listen_to(&a, "ch");
    tc_redis_unsubscribe(r, &a.sub);
    listen_to(&a, "ch");
    redis_run_until_cond(&loop, is_subscribed_twice, &times);
    redis_run_for(&loop, 30);
    assert_int_equal(a.ready, 0); /* an UNSUBSCRIBE lies between: what is published now would be lost */
    struct redis_fake_peer *p = fake.peers;
    while (p->commands < 5) /* the subscribing one: PING, PING, and three */
        p = p->next;
    redis_fake_say(p, "*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nx\r\n"); /* of the first subscription */
    redis_run_for(&loop, 30);
    assert_int_equal(a.messages, 0);
    redis_fake_say(p, "*3\r\n$11\r\nunsubscribe\r\n$2\r\nch\r\n:0\r\n*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n");
    await_count(&a.ready, 1);
    close_link();
    redis_fake_stop(&fake);
}

static void keep_commands_waiting(struct redis_fake_peer *p, const redisReply *command) {
    int *subscribes = p->fake->arg;
    if (redis_fake_is(command, "SUBSCRIBE"))
        (*subscribes)++;
    else if (p->number > 0) /* the first connection is the one for commands */
        redis_fake_greet(p, command);
}

static void subscribing_waits_until_commands_are_possible(void **state) {
    (void)state;
    int subscribes = 0;
    struct redis_fake fake = {.on_command = keep_commands_waiting, .arg = &subscribes};
    struct ear a = {.ready = 0};
    redis_fake_start(&fake, &loop);
    opts.url = fake.url;
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    listen_to(&a, "ch");
    redis_run_for(&loop, 50);
    assert_int_equal(fake.accepted, 2);
    assert_int_equal(subscribes, 0);
    struct redis_fake_peer *p = fake.peers;
    while (p->number != 0)
        p = p->next;
    redis_fake_say(p, "+PONG\r\n");
    await_count(&subscribes, 1);
    close_link();
    redis_fake_stop(&fake);
}

static const char *nonsense;

static void say_nonsense(struct redis_fake_peer *p, const redisReply *command) {
    int *times = p->fake->arg;
    if (redis_fake_is(command, "SUBSCRIBE")) {
        (*times)++;
        redis_fake_say(p, nonsense);
    } else if (redis_fake_is(command, "PING") && command->elements == 2) {
        redis_fake_say(p, "$10\r\nsubscribed\r\n");
    } else {
        redis_fake_greet(p, command);
    }
}

static void nonsense_instead_of_a_confirmation_loses_the_link(void **state) {
    (void)state;
    static const char *const all[] = {
        "*3\r\n$9\r\nsubscribe\r\n$5\r\nother\r\n:1\r\n",
        ":7\r\n",
        "*0\r\n",
        "*3\r\n:1\r\n:2\r\n:3\r\n",
        "*1\r\n$4\r\npong\r\n",
        "*3\r\n$9\r\nsubscribe\r\n$-1\r\n:1\r\n",
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        int times = 0;
        struct redis_fake fake = {.on_command = say_nonsense, .arg = &times};
        struct ear a = {.ready = 0};
        struct redis_probe probe;
        nonsense = all[i];
        redis_fake_start(&fake, &loop);
        opts.url = fake.url;
        create_up();
        redis_probe_attach(&probe, r);
        listen_to(&a, "ch");
        await_count(&times, 3);
        assert_true(probe.downs >= 1);
        assert_int_equal(probe.last_err, TC_EPROTO);
        assert_int_equal(a.ready, 0);
        close_link();
        redis_fake_stop(&fake);
    }
}

static void close_at_every_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        struct ear a = {.ready = 0}, b = {.ready = 0};
        assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
        listen_to(&a, "ch");
        for (int i = 0; i < turns; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            if (i == turns / 2)
                listen_to(&b, "ch");
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
        TEST(unsubscribing_the_last_in_on_ready_is_allowed),
        TEST(subscribing_in_a_message_hears_the_next_one),
        TEST(closing_in_a_message_or_on_ready_calls_nobody_else),
        TEST(unsubscribe_and_subscribe_again_is_ready_once_for_good),
        TEST(channel_that_the_access_list_forbids_keeps_the_link_down),
        TEST(server_that_stands_still_is_noticed_without_any_command),
        TEST(reset_in_half_a_confirmation_subscribes_again),
        TEST(confirmation_of_an_earlier_subscribe_makes_nobody_ready),
        TEST(subscribing_waits_until_commands_are_possible),
        TEST(nonsense_instead_of_a_confirmation_loses_the_link),
        TEST(close_at_every_turn_ends_clean),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
