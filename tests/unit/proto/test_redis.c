/* redis/redis.h against a server that misbehaves on demand: greeting, order, losses, time-outs, bounds, closing. */
#include "redis/redis.h"

#include "redis_fake.h"
#include "redis_fixture.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct env {
    uv_loop_t loop;
    struct redis_fake fake;
    struct tc_redis_options opts;
    struct tc_redis *r;
    struct redis_probe probe;
    struct redis_replies replies;
    struct redis_call calls[64];
    int used;        /* calls */
    char heard[512]; /* names of the commands that the server got */
};

static struct env *env_new(void) {
    struct env *e = calloc(1, sizeof(*e));
    assert_non_null(e);
    assert_int_equal(uv_loop_init(&e->loop), 0);
    e->fake.arg = e;
    e->opts.backoff_min_ms = 1;
    e->opts.backoff_max_ms = 20;
    for (int i = 0; i < 64; i++)
        e->calls[i] = (struct redis_call){&e->replies, i};
    return e;
}

static void env_create(struct env *e, const char *url) {
    e->opts.url = url;
    assert_int_equal(tc_redis_create(&e->r, &e->loop, &e->opts), 0);
    redis_probe_attach(&e->probe, e->r);
}

static void env_up(struct env *e) {
    if (!e->fake.port)
        redis_fake_start(&e->fake, &e->loop);
    env_create(e, e->fake.url);
    redis_probe_await_up(&e->loop, e->r);
}

static void env_end(struct env *e) {
    if (e->r)
        redis_probe_close(&e->loop, e->r);
    if (e->fake.port)
        redis_fake_stop(&e->fake);
    redis_loop_end(&e->loop);
    free(e);
}

static int ask(struct env *e, const char *word) {
    return tc_redis_command(e->r, TC_STR("k"), redis_on_reply, &e->calls[e->used++ % 64], "ECHO %s", word);
}

struct waiting {
    struct env *e;
    int n;
};

static bool has_replies(void *arg) {
    struct waiting *w = arg;
    return w->e->replies.n >= w->n;
}

static void await_replies(struct env *e, int n) {
    struct waiting w = {e, n};
    redis_run_until_cond(&e->loop, has_replies, &w);
}

static bool was_down(void *arg) {
    return ((struct env *)arg)->probe.downs > 0;
}

static bool is_up_again(void *arg) {
    struct env *e = arg;
    return e->probe.downs > 0 && tc_redis_is_up(e->r);
}

static bool tried_thrice(void *arg) {
    return ((struct env *)arg)->fake.accepted >= 3;
}

static void await(struct env *e, bool (*cond)(void *)) {
    redis_run_until_cond(&e->loop, cond, e);
}

/* ---- greeting ---- */

static void record(struct redis_fake_peer *p, const redisReply *command) {
    struct env *e = p->fake->arg;
    for (size_t i = 0; i < command->elements; i++) {
        size_t n = strlen(e->heard);
        snprintf(e->heard + n, sizeof(e->heard) - n, "%s%s", command->element[i]->str,
                 i + 1 < command->elements ? " " : ";");
    }
    redis_fake_greet(p, command);
}

static void greeting_without_login_is_ping(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = record;
    env_up(e);
    assert_string_equal(e->heard, "PING;");
    assert_int_equal(e->probe.ups, 1);
    env_end(e);
}

static void greeting_with_everything_is_in_order(void **state) {
    (void)state;
    struct env *e = env_new();
    char url[128];
    e->fake.on_command = record;
    e->opts.client_name = "tokencast-broker";
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://u:p%%20w@127.0.0.1:%d/3", e->fake.port);
    env_create(e, url);
    redis_probe_await_up(&e->loop, e->r);
    assert_string_equal(e->heard, "AUTH u p w;CLIENT SETNAME tokencast-broker;SELECT 3;PING;");
    env_end(e);
}

static void say_slowly(struct redis_fake_peer *p, const redisReply *command) {
    if (redis_fake_is(command, "AUTH"))
        return; /* the test answers */
    redis_fake_greet(p, command);
}

static void command_before_the_greeting_is_answered_is_refused(void **state) {
    (void)state;
    struct env *e = env_new();
    char url[128];
    e->fake.on_command = say_slowly;
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://:pw@localhost:%d", e->fake.port);
    env_create(e, url);
    assert_int_equal(ask(e, "x"), TC_ELINK);
    redis_run_for(&e->loop, 50);
    /* PONG is there, but it is the first reply, and so AUTH's. */
    assert_int_equal(e->fake.accepted, 1);
    assert_false(tc_redis_is_up(e->r));
    assert_int_equal(ask(e, "x"), TC_ELINK);
    redis_fake_say(e->fake.peers, "+OK\r\n");
    redis_probe_await_up(&e->loop, e->r);
    assert_int_equal(e->replies.n, 0);
    env_end(e);
}

static void say_wrongpass(struct redis_fake_peer *p, const redisReply *command) {
    (void)command;
    redis_fake_say(p, "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
}

static void login_refused_waits_the_longest_backoff(void **state) {
    (void)state;
    struct env *e = env_new();
    char url[128];
    e->fake.on_command = say_wrongpass;
    e->opts.backoff_max_ms = 3600000;
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://:pw@127.0.0.1:%d", e->fake.port);
    env_create(e, url);
    redis_run_for(&e->loop, 200);
    assert_int_equal(e->fake.accepted, 1);
    assert_int_equal(e->probe.ups + e->probe.downs, 0);
    env_end(e);
}

static void say_loading_twice(struct redis_fake_peer *p, const redisReply *command) {
    if (p->number < 2)
        redis_fake_say(p, "-LOADING Redis is loading the dataset in memory\r\n");
    else
        redis_fake_greet(p, command);
}

static void server_that_loads_is_asked_again(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = say_loading_twice;
    env_up(e);
    assert_int_equal(e->fake.accepted, 3);
    assert_int_equal(e->probe.ups, 1);
    assert_int_equal(e->probe.downs, 0);
    env_end(e);
}

static void say_nothing(struct redis_fake_peer *p, const redisReply *command) {
    (void)p, (void)command;
}

static void greeting_unanswered_times_out_and_is_tried_again(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = say_nothing;
    e->opts.connect_timeout_ms = 30;
    redis_fake_start(&e->fake, &e->loop);
    env_create(e, e->fake.url);
    await(e, tried_thrice);
    assert_true(tc_redis_stats(e->r)->timeouts >= 2);
    assert_int_equal(e->probe.downs, 0); /* it was never up */
    env_end(e);
}

/* ---- replies ---- */

static void say_echo(struct redis_fake_peer *p, const redisReply *command) {
    char reply[256];
    if (!redis_fake_is(command, "ECHO")) {
        redis_fake_greet(p, command);
        return;
    }
    snprintf(reply, sizeof(reply), "$%zu\r\n%s\r\n", (size_t)command->element[1]->len, command->element[1]->str);
    for (const char *c = reply; *c; c++) /* each byte a write: the reader sees every half */
        redis_fake_say_n(p, c, 1);
}

static void replies_in_pieces_come_whole_and_in_order(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = say_echo;
    env_up(e);
    for (int i = 0; i < 20; i++)
        assert_int_equal(ask(e, "hello"), 0);
    assert_int_equal(e->replies.n, 0); /* never from the call */
    await_replies(e, 20);
    assert_int_equal(e->replies.ok, 20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(e->replies.order[i], i);
    env_end(e);
}

static void say_error(struct redis_fake_peer *p, const redisReply *command) {
    if (redis_fake_is(command, "ECHO"))
        redis_fake_say(p, "-OOM command not allowed\r\n");
    else
        redis_fake_greet(p, command);
}

static void error_reply_is_a_reply(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = say_error;
    env_up(e);
    assert_int_equal(ask(e, "x"), 0);
    await_replies(e, 1);
    assert_int_equal(e->replies.ok, 1);
    assert_int_equal(tc_redis_stats(e->r)->errors, 1);
    assert_true(tc_redis_is_up(e->r));
    env_end(e);
}

static void send_from_prepare(uv_prepare_t *prepare) {
    struct env *e = prepare->data;
    uv_prepare_stop(prepare);
    assert_int_equal(ask(e, "x"), 0);
}

static void command_from_a_prepare_callback_leaves_in_the_next_turn(void **state) {
    (void)state;
    struct env *e = env_new();
    uv_prepare_t prepare;
    e->fake.on_command = say_echo;
    e->opts.command_timeout_ms = 3600000; /* no timer of the link wakes the loop up */
    env_up(e);
    uv_prepare_init(&e->loop, &prepare);
    prepare.data = e;
    uv_prepare_start(&prepare, send_from_prepare);
    for (int i = 0; i < 100 && e->replies.n == 0; i++)
        uv_run(&e->loop, UV_RUN_ONCE); /* would block for an hour; ctest's time-out fails it */
    assert_int_equal(e->replies.ok, 1);
    uv_close((uv_handle_t *)&prepare, NULL);
    env_end(e);
}

/* ---- losses ---- */

static void reset_in_half_a_reply(struct redis_fake_peer *p, const redisReply *command) {
    if (!redis_fake_is(command, "ECHO")) {
        redis_fake_greet(p, command);
    } else if (p->number == 0) {
        redis_fake_say(p, "$5\r\nhel");
        if (p->commands == 4) /* PING and three more */
            redis_fake_reset(p);
    } else {
        say_echo(p, command);
    }
}

static void reset_fails_all_in_flight_once_and_reconnects(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = reset_in_half_a_reply;
    env_up(e);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask(e, "hello"), 0);
    await(e, is_up_again);
    assert_int_equal(e->replies.failed, 3);
    assert_int_equal(e->replies.ok, 0);
    assert_int_equal(e->replies.last_err, TC_ELINK);
    assert_int_equal(e->probe.last_err, TC_ELINK);
    assert_int_equal(e->probe.ups, 2);
    assert_int_equal(e->probe.downs, 1);
    assert_int_equal(tc_redis_stats(e->r)->losses, 1);
    assert_int_equal(ask(e, "hello"), 0);
    await_replies(e, 4);
    assert_int_equal(e->replies.ok, 1);
    env_end(e);
}

static void end_after_first(struct redis_fake_peer *p, const redisReply *command) {
    if (p->number == 0 && redis_fake_is(command, "ECHO"))
        redis_fake_end(p);
    else
        redis_fake_greet(p, command);
}

static void end_of_stream_is_a_loss(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = end_after_first;
    env_up(e);
    assert_int_equal(ask(e, "x"), 0);
    await(e, is_up_again);
    assert_int_equal(e->replies.failed, 1);
    env_end(e);
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
        struct env *e = env_new();
        nonsense = all[i];
        e->fake.on_command = say_nonsense;
        env_up(e);
        assert_int_equal(ask(e, "x"), 0);
        await(e, is_up_again);
        assert_int_equal(e->probe.last_err, TC_EPROTO);
        assert_int_equal(e->replies.n, 1);
        if (e->replies.failed)
            assert_int_equal(e->replies.last_err, TC_ELINK);
        env_end(e);
    }
}

static void ignore_echo(struct redis_fake_peer *p, const redisReply *command) {
    if (!redis_fake_is(command, "ECHO"))
        redis_fake_greet(p, command);
}

static void unanswered_command_times_out_with_all_behind_it(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = ignore_echo;
    e->opts.command_timeout_ms = 40;
    env_up(e);
    assert_int_equal(ask(e, "x"), 0);
    assert_int_equal(ask(e, "y"), 0);
    await(e, is_up_again);
    assert_int_equal(e->replies.failed, 2);
    assert_int_equal(e->replies.last_err, TC_ETIMEOUT);
    assert_int_equal(e->probe.last_err, TC_ETIMEOUT);
    assert_int_equal(tc_redis_stats(e->r)->timeouts, 1);
    env_end(e);
}

static void held_up_loop_is_no_time_out(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = say_echo;
    e->opts.command_timeout_ms = 30;
    env_up(e);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask(e, "x"), 0);
        uv_run(&e->loop, UV_RUN_NOWAIT);
        uv_sleep(60);
    }
    await_replies(e, 5);
    assert_int_equal(e->replies.ok, 5);
    assert_int_equal(e->probe.downs, 0);
    env_end(e);
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
    struct env *e = env_new();
    char url[128];
    e->fake.on_command = say_full_house;
    e->opts.backoff_max_ms = 3600000; /* what a refused login would wait for */
    redis_fake_start(&e->fake, &e->loop);
    snprintf(url, sizeof(url), "redis://:pw@127.0.0.1:%d", e->fake.port);
    env_create(e, url);
    redis_probe_await_up(&e->loop, e->r);
    assert_int_equal(e->fake.accepted, 3);
    env_end(e);
}

/* ---- bounds ---- */

static void more_in_flight_than_allowed_is_refused(void **state) {
    (void)state;
    struct env *e = env_new();
    e->fake.on_command = ignore_echo;
    e->opts.max_in_flight = 4;
    env_up(e);
    for (int i = 0; i < 4; i++)
        assert_int_equal(ask(e, "x"), 0);
    assert_int_equal(ask(e, "x"), TC_EFULL);
    redis_fake_say(e->fake.peers, "+OK\r\n+OK\r\n");
    await_replies(e, 2);
    assert_int_equal(ask(e, "x"), 0);
    redis_fake_stop(&e->fake);
    e->fake.port = 0;
    await(e, was_down);
    assert_int_equal(e->replies.n, 5); /* and the refused one not */
    env_end(e);
}

static void more_bytes_out_than_allowed_are_refused(void **state) {
    (void)state;
    struct env *e = env_new();
    e->opts.max_out_bytes = 1000;
    env_up(e);
    char word[601];
    memset(word, 'w', 600);
    word[600] = '\0';
    assert_int_equal(ask(e, word), 0);
    assert_int_equal(ask(e, word), TC_EFULL);
    const char *argv[] = {"ECHO", word};
    const size_t huge[] = {4, SIZE_MAX - 50};
    assert_int_equal(tc_redis_command_argv(e->r, TC_STR("k"), NULL, NULL, 2, argv, huge), TC_EFULL);
    await_replies(e, 1);
    assert_int_equal(ask(e, word), 0);
    await_replies(e, 2);
    assert_int_equal(e->replies.ok, 2);
    env_end(e);
}

/* ---- closing ---- */

static void close_at_every_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        struct env *e = env_new();
        e->fake.on_command = turns % 2 ? ignore_echo : reset_in_half_a_reply;
        e->opts.pubsub = turns % 3 == 0;
        redis_fake_start(&e->fake, &e->loop);
        char url[128];
        snprintf(url, sizeof(url), "redis://%s:%d", turns % 4 == 3 ? "localhost" : "127.0.0.1", e->fake.port);
        env_create(e, url);
        int accepted = 0;
        for (int i = 0; i < turns; i++) {
            accepted += ask(e, "hello") == 0;
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
        env_end(e);
    }
}

struct closing {
    struct env *e;
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
    assert_int_equal(ask(c->e, "x"), TC_ELINK);
}

static void answer_six_at_once(struct redis_fake_peer *p, const redisReply *command) {
    if (!redis_fake_is(command, "ECHO"))
        redis_fake_greet(p, command);
    else if (p->commands == 7) /* the greeting's PING came before */
        redis_fake_say(p, "+1\r\n+2\r\n+3\r\n+4\r\n+5\r\n+6\r\n");
}

static void close_in_a_reply_fails_the_rest_in_order_then_calls_back(void **state) {
    (void)state;
    struct env *e = env_new();
    struct closing c = {.e = e};
    e->fake.on_command = answer_six_at_once; /* the other five are there already, and are not delivered */
    env_up(e);
    assert_int_equal(tc_redis_command(e->r, TC_STR("k"), close_on_reply, &c, "ECHO x"), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(e, "x"), 0);
    redis_run_until(&e->loop, &c.closed);
    assert_int_equal(e->replies.failed, 5);
    assert_int_equal(c.failed_before_close, 5);
    assert_int_equal(e->replies.last_err, TC_ECLOSED);
    for (int i = 0; i < 5; i++)
        assert_int_equal(e->replies.order[i], i);
    assert_int_equal(e->probe.downs, 0); /* watches are detached without a call */
    e->r = NULL;
    env_end(e);
}

static void close_in_the_failure_of_a_command_fails_the_rest_once(void **state) {
    (void)state;
    struct env *e = env_new();
    struct closing c = {.e = e};
    e->fake.on_command = end_after_first;
    env_up(e);
    assert_int_equal(tc_redis_command(e->r, TC_STR("k"), close_on_reply, &c, "ECHO x"), 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask(e, "x"), 0);
    redis_run_until(&e->loop, &c.closed);
    assert_int_equal(e->replies.failed, 5);
    assert_int_equal(e->replies.n, 5);
    assert_int_equal(e->probe.downs, 0);
    e->r = NULL;
    env_end(e);
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
        struct env *e = env_new();
        struct closing c = {.e = e};
        struct tc_redis_watch w = {.arg = &c};
        e->fake.on_command = end_after_first;
        redis_fake_start(&e->fake, &e->loop);
        env_create(e, e->fake.url);
        if (up) {
            w.on_up = close_on_up;
            tc_redis_watch_add(e->r, &w);
        } else {
            redis_probe_await_up(&e->loop, e->r);
            w.on_down = close_on_down;
            tc_redis_watch_add(e->r, &w);
            assert_int_equal(ask(e, "x"), 0);
        }
        redis_run_until(&e->loop, &c.closed);
        e->r = NULL;
        env_end(e);
    }
}

/* ---- watches ---- */

struct pair {
    struct env *e;
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
    struct env *e = env_new();
    struct pair p = {.e = e};
    p.a = p.b = (struct tc_redis_watch){.on_up = remove_both, .arg = &p};
    redis_fake_start(&e->fake, &e->loop);
    env_create(e, e->fake.url);
    tc_redis_watch_add(e->r, &p.a);
    tc_redis_watch_add(e->r, &p.b);
    redis_probe_await_up(&e->loop, e->r);
    redis_run_for(&e->loop, 10);
    assert_int_equal(p.calls, 1);
    assert_int_equal(e->probe.ups, 1);
    env_end(e);
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
    struct env *e = env_new();
    env_create(e, "redis://no-such-host.invalid");
    redis_run_for(&e->loop, 20);
    assert_int_equal(ask(e, "x"), TC_ELINK);
    env_end(e);
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
        cmocka_unit_test(full_server_is_asked_again_soon),
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
