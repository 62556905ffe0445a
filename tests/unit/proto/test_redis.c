/* redis/redis.h against a server that misbehaves on demand: greeting, order, losses, time-outs. */
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

static bool tried_thrice(void *arg) {
    return ((struct redis_env *)arg)->fake.accepted >= 3;
}

/* ---- greeting ---- */

static void hear(struct redis_env *e, const redisReply *command) {
    for (size_t i = 0; i < command->elements; i++) {
        size_t n = strlen(e->heard);
        snprintf(e->heard + n, sizeof(e->heard) - n, "%s%s", command->element[i]->str,
                 i + 1 < command->elements ? " " : ";");
    }
}

static void record(struct redis_fake_peer *p, const redisReply *command) {
    hear(p->fake->arg, command);
    redis_fake_greet(p, command);
}

static void greeting_without_login_is_ping(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = record;
    redis_env_up(e);
    assert_string_equal(e->heard, "PING;");
    assert_int_equal(e->probe.ups, 1);
    redis_env_end(e);
}

static void greeting_with_everything_is_in_order(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    char url[128];
    e->fake.on_command = record;
    e->opts.client_name = "tokencast-broker";
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://u:p%%20w@127.0.0.1:%d/3", e->fake.port);
    redis_env_create(e, url);
    redis_probe_await_up(&e->loop, e->r);
    assert_string_equal(e->heard, "AUTH u p w;CLIENT SETNAME tokencast-broker;SELECT 3;PING;");
    redis_env_end(e);
}

static void say_slowly(struct redis_fake_peer *p, const redisReply *command) {
    hear(p->fake->arg, command);
    if (redis_fake_is(command, "AUTH"))
        return; /* the test answers */
    redis_fake_greet(p, command);
}

static bool was_greeted(void *arg) {
    struct redis_env *e = arg;
    return strstr(e->heard, "PING;") != NULL;
}

static void command_before_the_greeting_is_answered_is_refused(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    char url[128];
    e->fake.on_command = say_slowly;
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://:pw@localhost:%d", e->fake.port);
    redis_env_create(e, url);
    assert_int_equal(redis_env_ask(e, "x"), TC_ELINK);
    redis_env_await(e, was_greeted); /* the name is looked up on another thread */
    redis_run_for(&e->loop, 50);
    /* PONG is there, but it is the first reply, and so AUTH's. */
    assert_int_equal(e->fake.accepted, 1);
    assert_false(tc_redis_is_up(e->r));
    assert_int_equal(redis_env_ask(e, "x"), TC_ELINK);
    redis_fake_say(e->fake.peers, "+OK\r\n");
    redis_probe_await_up(&e->loop, e->r);
    assert_int_equal(e->replies.n, 0);
    redis_env_end(e);
}

static void say_wrongpass(struct redis_fake_peer *p, const redisReply *command) {
    (void)command;
    redis_fake_say(p, "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
}

static void login_refused_waits_the_longest_backoff(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    char url[128];
    e->fake.on_command = say_wrongpass;
    e->opts.backoff_max_ms = 3600000;
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://:pw@127.0.0.1:%d", e->fake.port);
    redis_env_create(e, url);
    redis_run_for(&e->loop, 200);
    assert_int_equal(e->fake.accepted, 1);
    assert_int_equal(e->probe.ups + e->probe.downs, 0);
    redis_env_end(e);
}

static void say_loading_twice(struct redis_fake_peer *p, const redisReply *command) {
    if (p->number < 2)
        redis_fake_say(p, "-LOADING Redis is loading the dataset in memory\r\n");
    else
        redis_fake_greet(p, command);
}

static void server_that_loads_is_asked_again(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = say_loading_twice;
    redis_env_up(e);
    assert_int_equal(e->fake.accepted, 3);
    assert_int_equal(e->probe.ups, 1);
    assert_int_equal(e->probe.downs, 0);
    redis_env_end(e);
}

static void say_nothing(struct redis_fake_peer *p, const redisReply *command) {
    (void)p, (void)command;
}

static void greeting_unanswered_times_out_and_is_tried_again(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = say_nothing;
    e->opts.connect_timeout_ms = 30;
    redis_fake_start(&e->fake, &e->loop);
    redis_env_create(e, e->fake.url);
    redis_env_await(e, tried_thrice);
    assert_true(tc_redis_stats(e->r)->timeouts >= 2);
    assert_int_equal(e->probe.downs, 0); /* it was never up */
    redis_env_end(e);
}

/* ---- replies ---- */

static void replies_in_pieces_come_whole_and_in_order(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = redis_env_say_echo;
    redis_env_up(e);
    for (int i = 0; i < 20; i++)
        assert_int_equal(redis_env_ask(e, "hello"), 0);
    assert_int_equal(e->replies.n, 0); /* never from the call */
    redis_env_await_replies(e, 20);
    assert_int_equal(e->replies.ok, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(e->replies.order[i], i);
    redis_env_end(e);
}

static void say_error(struct redis_fake_peer *p, const redisReply *command) {
    if (redis_fake_is(command, "ECHO"))
        redis_fake_say(p, "-OOM command not allowed\r\n");
    else
        redis_fake_greet(p, command);
}

static void error_reply_is_a_reply(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = say_error;
    redis_env_up(e);
    assert_int_equal(redis_env_ask(e, "x"), 0);
    redis_env_await_replies(e, 1);
    assert_int_equal(e->replies.ok, 1);
    assert_int_equal(tc_redis_stats(e->r)->errors, 1);
    assert_true(tc_redis_is_up(e->r));
    redis_env_end(e);
}

static void send_from_prepare(uv_prepare_t *prepare) {
    struct redis_env *e = prepare->data;
    uv_prepare_stop(prepare);
    assert_int_equal(redis_env_ask(e, "x"), 0);
}

static void command_from_a_prepare_callback_leaves_in_the_next_turn(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    uv_prepare_t prepare;
    e->fake.on_command = redis_env_say_echo;
    e->opts.command_timeout_ms = 3600000; /* no timer of the link wakes the loop up */
    redis_env_up(e);
    uv_prepare_init(&e->loop, &prepare);
    prepare.data = e;
    uv_prepare_start(&prepare, send_from_prepare);
    for (int i = 0; i < 100 && e->replies.n == 0; i++)
        uv_run(&e->loop, UV_RUN_ONCE); /* would block for an hour; ctest's time-out fails it */
    assert_int_equal(e->replies.ok, 1);
    uv_close((uv_handle_t *)&prepare, NULL);
    redis_env_end(e);
}

/* ---- losses ---- */

static void reset_fails_all_in_flight_once_and_reconnects(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = redis_env_reset_in_half_a_reply;
    redis_env_up(e);
    for (int i = 0; i < 3; i++)
        assert_int_equal(redis_env_ask(e, "hello"), 0);
    redis_env_await(e, redis_env_is_up_again);
    assert_int_equal(e->replies.failed, 3);
    assert_int_equal(e->replies.ok, 0);
    assert_int_equal(e->replies.last_err, TC_ELINK);
    assert_int_equal(e->probe.last_err, TC_ELINK);
    assert_int_equal(e->probe.ups, 2);
    assert_int_equal(e->probe.downs, 1);
    assert_int_equal(tc_redis_stats(e->r)->losses, 1);
    assert_int_equal(redis_env_ask(e, "hello"), 0);
    redis_env_await_replies(e, 4);
    assert_int_equal(e->replies.ok, 1);
    redis_env_end(e);
}

static void end_of_stream_is_a_loss(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = redis_env_end_after_first;
    redis_env_up(e);
    assert_int_equal(redis_env_ask(e, "x"), 0);
    redis_env_await(e, redis_env_is_up_again);
    assert_int_equal(e->replies.failed, 1);
    redis_env_end(e);
}

static const char *nonsense; /* what the server says to ECHO */

static void say_nonsense(struct redis_fake_peer *p, const redisReply *command) {
    if (p->number == 0 && redis_fake_is(command, "ECHO"))
        redis_fake_say(p, nonsense);
    else
        redis_fake_greet(p, command);
}

static void protocol_error_loses_the_link(void **state) {
    (void)state;
    static const char *const all[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "*2147483647\r\n",
        "*1048577\r\n",
        "$-2\r\n",
        ":12a\r\n",
        "$3\r\nabc\r\n+one too many\r\n",
        "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct redis_env *e = redis_env_new();
        nonsense = all[i];
        e->fake.on_command = say_nonsense;
        redis_env_up(e);
        assert_int_equal(redis_env_ask(e, "x"), 0);
        redis_env_await(e, redis_env_is_up_again);
        assert_int_equal(e->probe.last_err, TC_EPROTO);
        assert_int_equal(e->replies.n, 1);
        if (e->replies.failed)
            assert_int_equal(e->replies.last_err, TC_ELINK);
        redis_env_end(e);
    }
}

static void unanswered_command_times_out_with_all_behind_it(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = redis_env_ignore_echo;
    e->opts.command_timeout_ms = 40;
    redis_env_up(e);
    assert_int_equal(redis_env_ask(e, "x"), 0);
    assert_int_equal(redis_env_ask(e, "y"), 0);
    redis_env_await(e, redis_env_is_up_again);
    assert_int_equal(e->replies.failed, 2);
    assert_int_equal(e->replies.last_err, TC_ETIMEOUT);
    assert_int_equal(e->probe.last_err, TC_ETIMEOUT);
    assert_int_equal(tc_redis_stats(e->r)->timeouts, 1);
    redis_env_end(e);
}

static void held_up_loop_is_no_time_out(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    e->fake.on_command = redis_env_say_echo;
    e->opts.command_timeout_ms = 30;
    redis_env_up(e);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(redis_env_ask(e, "x"), 0);
        uv_run(&e->loop, UV_RUN_NOWAIT);
        uv_sleep(60);
    }
    redis_env_await_replies(e, 5);
    assert_int_equal(e->replies.ok, 5);
    assert_int_equal(e->probe.downs, 0);
    redis_env_end(e);
}

/* ---- answers that take their time ---- */

/* ECHO is answered byte by byte from a timer on the same loop. The connection may be gone, and the next one there. */
struct drip {
    struct redis_env *e;
    uv_timer_t timer;
    int left, said; /* bytes */
};

static void on_drip(uv_timer_t *timer) {
    struct drip *d = timer->data;
    if (d->left == 0 || d->e->fake.peers == NULL)
        return;
    redis_fake_say(d->e->fake.peers, --d->left == 0 ? "x\r\n" : "x");
    d->said++;
}

static void drip_start(struct drip *d, struct redis_env *e, int bytes, unsigned every_ms) {
    char head[32];
    *d = (struct drip){.e = e, .left = bytes};
    snprintf(head, sizeof(head), "$%d\r\n", bytes);
    redis_fake_say(e->fake.peers, head);
    uv_timer_init(&e->loop, &d->timer);
    d->timer.data = d;
    uv_timer_start(&d->timer, on_drip, every_ms, every_ms);
}

static void drip_end(struct drip *d) {
    uv_close((uv_handle_t *)&d->timer, NULL);
    redis_run_for(&d->e->loop, 1);
}

static void answer_that_comes_slowly_is_no_time_out(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    struct drip d;
    e->fake.on_command = redis_env_ignore_echo;
    e->fake.nodelay = true;
    e->opts.command_timeout_ms = 300;
    redis_env_up(e);
    assert_int_equal(redis_env_ask(e, "x"), 0);
    drip_start(&d, e, 40, 20); /* 800 ms: more than one time-out, less than ten */
    redis_env_await_replies(e, 1);
    assert_int_equal(e->replies.ok, 1);
    assert_int_equal(d.said, 40);
    assert_int_equal(e->probe.downs, 0);
    drip_end(&d);
    redis_env_end(e);
}

static void answer_that_drips_for_ever_times_out(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    struct drip d;
    e->fake.on_command = redis_env_ignore_echo;
    e->fake.nodelay = true;
    e->opts.command_timeout_ms = 100;
    redis_env_up(e);
    uint64_t began = uv_now(&e->loop);
    assert_int_equal(redis_env_ask(e, "x"), 0);
    drip_start(&d, e, 1 << 20, 5);
    redis_env_await(e, redis_env_was_down);
    assert_true(uv_now(&e->loop) - began >= 1000); /* ten times, and not for its silence before */
    drip_end(&d);
    assert_int_equal(e->replies.failed, 1);
    assert_int_equal(e->probe.last_err, TC_ETIMEOUT);
    redis_env_end(e);
}

static void say_full_house(struct redis_fake_peer *p, const redisReply *command) {
    if (p->number < 2) {
        if (p->commands == 1)
            redis_fake_say(p, "-ERR max number of clients reached\r\n");
        redis_fake_end(p);
        return;
    }
    redis_fake_greet(p, command);
}

static void full_server_is_asked_again_soon(void **state) {
    (void)state;
    struct redis_env *e = redis_env_new();
    char url[128];
    e->fake.on_command = say_full_house;
    e->opts.backoff_max_ms = 3600000; /* what a refused login would wait for */
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://:pw@127.0.0.1:%d", e->fake.port);
    redis_env_create(e, url);
    redis_probe_await_up(&e->loop, e->r);
    assert_int_equal(e->fake.accepted, 3);
    redis_env_end(e);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greeting_without_login_is_ping),
        cmocka_unit_test(greeting_with_everything_is_in_order),
        cmocka_unit_test(command_before_the_greeting_is_answered_is_refused),
        cmocka_unit_test(login_refused_waits_the_longest_backoff),
        cmocka_unit_test(server_that_loads_is_asked_again),
        cmocka_unit_test(greeting_unanswered_times_out_and_is_tried_again),
        cmocka_unit_test(replies_in_pieces_come_whole_and_in_order),
        cmocka_unit_test(error_reply_is_a_reply),
        cmocka_unit_test(command_from_a_prepare_callback_leaves_in_the_next_turn),
        cmocka_unit_test(reset_fails_all_in_flight_once_and_reconnects),
        cmocka_unit_test(end_of_stream_is_a_loss),
        cmocka_unit_test(protocol_error_loses_the_link),
        cmocka_unit_test(unanswered_command_times_out_with_all_behind_it),
        cmocka_unit_test(held_up_loop_is_no_time_out),
        cmocka_unit_test(answer_that_comes_slowly_is_no_time_out),
        cmocka_unit_test(answer_that_drips_for_ever_times_out),
        cmocka_unit_test(full_server_is_asked_again_soon),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
