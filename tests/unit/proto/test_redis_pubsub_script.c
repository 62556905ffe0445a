/* Subscriptions of redis/redis.h against a server that answers on demand. */
#include "redis/redis.h"

#include "redis_ear.h"
#include "redis_fake.h"
#include "redis_fixture.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct tc_redis_options opts;
static struct tc_redis *r;

static int begin(void **state) {
    (void)state;
    memset(&opts, 0, sizeof(opts));
    opts.pubsub = true;
    opts.backoff_min_ms = 5;
    opts.backoff_max_ms = 50;
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
    struct redis_ear a = {.ready = 0};
    redis_fake_start(&fake, &loop);
    opts.url = fake.url;
    create_up();
    redis_ear_listen(r, &a, "ch");
    redis_ear_await(&loop, &a.messages, 1);
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
    struct redis_ear a = {.ready = 0};
    redis_fake_start(&fake, &loop);
    opts.url = fake.url;
    create_up();
    redis_ear_listen(r, &a, "ch");
    tc_redis_unsubscribe(r, &a.sub);
    redis_ear_listen(r, &a, "ch");
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
    redis_ear_await(&loop, &a.ready, 1);
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
    struct redis_ear a = {.ready = 0};
    redis_fake_start(&fake, &loop);
    opts.url = fake.url;
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    redis_ear_listen(r, &a, "ch");
    redis_run_for(&loop, 50);
    assert_int_equal(fake.accepted, 2);
    assert_int_equal(subscribes, 0);
    struct redis_fake_peer *p = fake.peers;
    while (p->number != 0)
        p = p->next;
    redis_fake_say(p, "+PONG\r\n");
    redis_ear_await(&loop, &subscribes, 1);
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
        struct redis_ear a = {.ready = 0};
        struct redis_probe probe;
        nonsense = all[i];
        redis_fake_start(&fake, &loop);
        opts.url = fake.url;
        create_up();
        redis_probe_attach(&probe, r);
        redis_ear_listen(r, &a, "ch");
        redis_ear_await(&loop, &times, 3);
        assert_true(probe.downs >= 1);
        assert_int_equal(probe.last_err, TC_EPROTO);
        assert_int_equal(a.ready, 0);
        close_link();
        redis_fake_stop(&fake);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reset_in_half_a_confirmation_subscribes_again),
        TEST(confirmation_of_an_earlier_subscribe_makes_nobody_ready),
        TEST(subscribing_waits_until_commands_are_possible),
        TEST(nonsense_instead_of_a_confirmation_loses_the_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
