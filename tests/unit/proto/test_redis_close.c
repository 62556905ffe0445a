/* redis/redis.h: its bounds, closing it anywhere, its watches, and what create refuses. */
#include "redis/redis.h"

#include "redis_env.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- bounds ---- */

static void more_in_flight_than_allowed_is_refused(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = redis_env_ignore_echo;
    e->opts.max_in_flight = 4;
    redis_env_up(e);
    for (int i = 0; i < 4; i++)
        assert_int_equal(redis_env_ask(e, "x"), 0);
    assert_int_equal(redis_env_ask(e, "x"), TC_EFULL);
    redis_fake_say(e->fake.peers, "+OK\r\n+OK\r\n");
    redis_env_await_replies(e, 2);
    assert_int_equal(redis_env_ask(e, "x"), 0);
    redis_fake_stop(&e->fake);
    e->fake.port = 0;
    redis_env_await(e, redis_env_was_down);
    assert_int_equal(e->replies.n, 5); /* and the refused one not */
    redis_env_end(e);
}

static void more_bytes_out_than_allowed_are_refused(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->opts.max_out_bytes = 1000;
    redis_env_up(e);
    char word[601];
    memset(word, 'w', 600);
    word[600] = '\0';
    assert_int_equal(redis_env_ask(e, word), 0);
    assert_int_equal(redis_env_ask(e, word), TC_EFULL);
    const char *argv[] = {"ECHO", word};
    const size_t huge[] = {4, SIZE_MAX - 50};
    assert_int_equal(tc_redis_command_argv(e->r, TC_STR("k"), NULL, NULL, 2, argv, huge), TC_EFULL);
    redis_env_await_replies(e, 1);
    assert_int_equal(redis_env_ask(e, word), 0);
    redis_env_await_replies(e, 2);
    assert_int_equal(e->replies.ok, 2);
    redis_env_end(e);
}

/* ---- closing ---- */

static void close_at_every_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        struct redis_env *e = redis_env_new();
        e->fake.on_command = turns % 2 ? redis_env_ignore_echo : redis_env_reset_in_half_a_reply;
        e->opts.pubsub = turns % 3 == 0;
        redis_fake_start(&e->fake, &e->loop);
        char url[128];
        snprintf(url, sizeof(url), "redis://%s:%d", turns % 4 == 3 ? "localhost" : "127.0.0.1", e->fake.port);
        redis_env_create(e, url);
        int accepted = 0;
        for (int i = 0; i < turns; i++) {
            accepted += redis_env_ask(e, "hello") == 0;
            uv_run(&e->loop, UV_RUN_NOWAIT);
            uv_sleep(turns % 4 == 3);
        }
        int before = e->replies.n;
        struct redis_probe closed = {.closed = false};
        tc_redis_close(e->r, redis_probe_on_closed, &closed);
        assert_int_equal(e->replies.n, before); /* later, never from close */
        e->r = NULL;
        redis_run_until(&e->loop, &closed.closed);
        assert_int_equal(e->replies.n, accepted);
        redis_env_end(e);
    }
}

struct closing {
    struct redis_env *e;
    bool closed;
    int failed_before_close;
};

static void on_closed(void *arg) {
    struct closing *c = arg;
    c->closed = true;
    c->failed_before_close = c->e->replies.failed;
}

static void close_on_reply(void *arg, int err, const redisReply *reply) {
    struct closing *c = arg;
    (void)err, (void)reply;
    tc_redis_close(c->e->r, on_closed, c);
    assert_int_equal(redis_env_ask(c->e, "x"), TC_ELINK);
}

static void answer_six_at_once(struct redis_fake_peer *p, const redisReply *command) {
    if (!redis_fake_is(command, "ECHO"))
        redis_fake_greet(p, command);
    else if (p->commands == 7) /* the greeting's PING came before */
        redis_fake_say(p, "+1\r\n+2\r\n+3\r\n+4\r\n+5\r\n+6\r\n");
}

static void close_in_a_reply_fails_the_rest_in_order_then_calls_back(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    struct closing c = {.e = e};
    e->fake.on_command = answer_six_at_once; /* the other five are there already, and are not delivered */
    redis_env_up(e);
    assert_int_equal(tc_redis_command(e->r, TC_STR("k"), close_on_reply, &c, "ECHO x"), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(redis_env_ask(e, "x"), 0);
    redis_run_until(&e->loop, &c.closed);
    assert_int_equal(e->replies.failed, 5);
    assert_int_equal(c.failed_before_close, 5);
    assert_int_equal(e->replies.last_err, TC_ECLOSED);
    for (int i = 0; i < 5; i++)
        assert_int_equal(e->replies.order[i], i);
    assert_int_equal(e->probe.downs, 0); /* watches are detached without a call */
    e->r = NULL;
    redis_env_end(e);
}

static void close_in_the_failure_of_a_command_fails_the_rest_once(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    struct closing c = {.e = e};
    e->fake.on_command = redis_env_end_after_first;
    redis_env_up(e);
    assert_int_equal(tc_redis_command(e->r, TC_STR("k"), close_on_reply, &c, "ECHO x"), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(redis_env_ask(e, "x"), 0);
    redis_run_until(&e->loop, &c.closed);
    assert_int_equal(e->replies.failed, 5);
    assert_int_equal(e->replies.n, 5);
    assert_int_equal(e->probe.downs, 0);
    e->r = NULL;
    redis_env_end(e);
}

static void close_on_down(void *arg, int err) {
    struct closing *c = arg;
    (void)err;
    tc_redis_close(c->e->r, on_closed, c);
}

static void close_on_up(void *arg) {
    close_on_down(arg, 0);
}

static void close_in_on_down_and_in_on_up_end_clean(void **state) {
    (void)state;
    for (int up = 0; up < 2; up++) {
        struct redis_env *e = redis_env_new();
        struct closing c = {.e = e};
        struct tc_redis_watch w = {.arg = &c};
        e->fake.on_command = redis_env_end_after_first;
        redis_fake_start(&e->fake, &e->loop);
        redis_env_create(e, e->fake.url);
        if (up) {
            w.on_up = close_on_up;
            tc_redis_watch_add(e->r, &w);
        } else {
            redis_probe_await_up(&e->loop, e->r);
            w.on_down = close_on_down;
            tc_redis_watch_add(e->r, &w);
            assert_int_equal(redis_env_ask(e, "x"), 0);
        }
        redis_run_until(&e->loop, &c.closed);
        e->r = NULL;
        redis_env_end(e);
    }
}

/* ---- watches ---- */

struct pair {
    struct redis_env *e;
    struct tc_redis_watch a, b;
    int calls;
};

static void remove_both(void *arg) {
    struct pair *p = arg;
    p->calls++;
    tc_redis_watch_remove(p->e->r, &p->a);
    tc_redis_watch_remove(p->e->r, &p->b);
}

static void watches_removed_in_a_watch_are_not_called(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    struct pair p = {.e = e};
    p.a = p.b = (struct tc_redis_watch){.on_up = remove_both, .arg = &p};
    redis_fake_start(&e->fake, &e->loop);
    redis_env_create(e, e->fake.url);
    tc_redis_watch_add(e->r, &p.a);
    tc_redis_watch_add(e->r, &p.b);
    redis_probe_await_up(&e->loop, e->r);
    redis_run_for(&e->loop, 10);
    assert_int_equal(p.calls, 1);
    assert_int_equal(e->probe.ups, 1);
    redis_env_end(e);
}

/* ---- create ---- */

static void create_with_impossible_options_is_refused(void **state) {
    (void)state;
    static const struct tc_redis_options bad[] = {
        {.url = "redis://"},
        {.url = "redis://u@h"},
        {.url = "redis://h", .password_file = "/nonexistent/password"},
        {.url = "redis://h", .password_file = "/dev/null"},
        {.url = "redis://h", .password_file = "/dev/zero"},
        {.url = "redis://h", .ca_file = "/etc/hostname"},
        {.url = "rediss://h", .ca_file = "/nonexistent/ca.pem"},
        {.url = "rediss://h", .cert_file = "/etc/hostname"},
        {.url = "rediss://h", .cert_file = "/etc/hostname", .key_file = "/etc/hostname"},
    };
    uv_loop_t loop;
    uv_loop_init(&loop);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tc_redis *r = NULL;
        assert_true(tc_redis_create(&r, &loop, &bad[i]) < 0);
        assert_null(r);
    }
    redis_loop_end(&loop);
}

static void unknown_name_is_no_error_at_create(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    redis_env_create(e, "redis://no-such-host.invalid");
    redis_run_for(&e->loop, 20);
    assert_int_equal(redis_env_ask(e, "x"), TC_ELINK);
    redis_env_end(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_in_flight_than_allowed_is_refused),
        cmocka_unit_test(more_bytes_out_than_allowed_are_refused),
        cmocka_unit_test(close_at_every_turn_ends_clean),
        cmocka_unit_test(close_in_a_reply_fails_the_rest_in_order_then_calls_back),
        cmocka_unit_test(close_in_the_failure_of_a_command_fails_the_rest_once),
        cmocka_unit_test(close_in_on_down_and_in_on_up_end_clean),
        cmocka_unit_test(watches_removed_in_a_watch_are_not_called),
        cmocka_unit_test(create_with_impossible_options_is_refused),
        cmocka_unit_test(unknown_name_is_no_error_at_create),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
