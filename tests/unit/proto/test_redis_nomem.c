/* The link to Redis with each allocation failing in turn: an error at once, or exactly one answer to each command; a
 * lost link is made again and its subscriptions with it. */
#include "nomem.h"

#include "base/log.h"
#include "redis/reader.h"
#include "redis/redis.h"
#include "redis_fixture.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COMMANDS 70 /* more than the first ring of waiting callbacks holds */

static struct redis_server server;
static uv_loop_t loop;

struct client {
    struct tc_redis *r;
    struct tc_redis_sub ear;
    int sent, answered, good;
    int ready, messages, to_come;
    bool closed;
};

static void on_reply(void *arg, int err, const redisReply *reply) {
    struct client *c = arg;
    c->answered++;
    c->good += err == 0 && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, "a word") == 0;
    assert_true(err == 0 || err == TC_ELINK || err == TC_ENOMEM || err == TC_ECLOSED);
}

static void on_message(void *arg, struct tc_str payload) {
    struct client *c = arg;
    c->messages += tc_str_is(payload, "news");
}

static void on_ready(void *arg) {
    ((struct client *)arg)->ready++;
}

static void on_closed(void *arg) {
    ((struct client *)arg)->closed = true;
}

static int connect_to(struct client *c) {
    const struct tc_redis_options opts = {
        .url = server.url, .client_name = "nomem", .pubsub = true, .backoff_min_ms = 1, .backoff_max_ms = 2};
    return tc_redis_create(&c->r, &loop, &opts);
}

static void ask(struct client *c, int times) {
    for (int i = 0; i < times; i++) {
        int rc = tc_redis_command(c->r, TC_STR("k"), on_reply, c, "ECHO %s", "a word");
        assert_true(rc == 0 || rc == TC_ENOMEM || rc == TC_ELINK);
        c->sent += rc == 0;
    }
}

static int listen_to(struct client *c) {
    c->ear = (struct tc_redis_sub){.on_message = on_message, .on_ready = on_ready, .arg = c};
    return tc_redis_subscribe(c->r, &c->ear, "bell");
}

static bool is_ready_and_up(void *arg) {
    struct client *c = arg;
    return c->ready > 0 && tc_redis_is_up(c->r);
}

static bool is_answered(void *arg) {
    struct client *c = arg;
    return c->answered == c->sent;
}

static bool has_heard(void *arg) {
    struct client *c = arg;
    if (c->messages == 0 && c->to_come-- == 0) { /* published into nothing while the link was made again: once more */
        (void)redis_server_do(&server, "PUBLISH bell news");
        c->to_come = 20;
    }
    return c->messages > 0;
}

static bool has_message(void *arg) {
    return ((struct client *)arg)->messages > 0;
}

static bool is_up(void *arg) {
    return tc_redis_is_up(((struct client *)arg)->r);
}

static bool is_ready_and_answered(void *arg) {
    return is_ready_and_up(arg) && is_answered(arg);
}

struct need {
    bool (*is_met)(void *arg);
    struct client *c;
};

static bool is_met_or_failed(void *arg) {
    const struct need *need = arg;
    return nomem_failed() || need->is_met(need->c);
}

/* While allocations may fail: until the server has done its part or one has failed, and a few turns for what follows.
 */
static void run_in_need(bool (*is_met)(void *arg), struct client *c) {
    redis_run_until_cond(&loop, is_met_or_failed, &(struct need){is_met, c});
    redis_run_for(&loop, 4);
}

/* With memory again everything works. */
static void conclude(struct client *c) {
    redis_run_until_cond(&loop, is_ready_and_up, c);
    redis_run_until_cond(&loop, is_answered, c);
    int good = c->good;
    ask(c, COMMANDS);
    redis_run_until_cond(&loop, is_answered, c);
    assert_int_equal(c->good, good + COMMANDS);
    redis_run_until_cond(&loop, has_heard, c);
    tc_redis_unsubscribe(c->r, &c->ear);
    ask(c, 3); /* these are told that it is closed */
    tc_redis_close(c->r, on_closed, c);
    redis_run_until(&loop, &c->closed);
    assert_int_equal(c->answered, c->sent);
}

/* Connecting and greeting. */
static bool create(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct client c = {0};
    nomem_begin(mode, n);
    int rc = connect_to(&c);
    if (rc == 0)
        run_in_need(is_up, &c);
    bool failed = nomem_end();
    if (rc != 0) {
        assert_int_equal(rc, TC_ENOMEM);
        assert_true(failed);
        assert_int_equal(connect_to(&c), 0);
    }
    assert_int_equal(listen_to(&c), 0);
    conclude(&c);
    return failed;
}

static void link_made_without_memory_is_refused_or_made_again(void **state) {
    (void)state;
    nomem_each(create, NULL);
}

/* Commands and a subscription on a link that is up. */
static bool use(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct client c = {0};
    assert_int_equal(connect_to(&c), 0);
    redis_probe_await_up(&loop, c.r);
    nomem_begin(mode, n);
    ask(&c, 2);
    int rc = listen_to(&c);
    run_in_need(is_ready_and_answered, &c);
    ask(&c, COMMANDS);
    run_in_need(is_answered, &c);
    bool failed = nomem_end();
    if (rc != 0) {
        assert_true(rc == TC_ENOMEM);
        assert_null(c.ear.channel);
        assert_int_equal(c.ready, 0);
        assert_int_equal(listen_to(&c), 0);
    }
    if (!failed)
        assert_int_equal(c.good, COMMANDS + 2);
    conclude(&c);
    return failed;
}

static void link_used_without_memory_answers_each_command_once(void **state) {
    (void)state;
    nomem_each(use, NULL);
}

/* Messages that come, and leaving. */
static bool hear_and_leave(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct client c = {0};
    assert_int_equal(connect_to(&c), 0);
    assert_int_equal(listen_to(&c), 0);
    redis_run_until_cond(&loop, is_ready_and_up, &c);
    (void)redis_server_do(&server, "PUBLISH bell news");
    nomem_begin(mode, n);
    run_in_need(has_message, &c);
    tc_redis_unsubscribe(c.r, &c.ear);
    c.ready = 0;
    int rc = listen_to(&c);
    run_in_need(is_ready_and_up, &c);
    bool failed = nomem_end();
    if (rc != 0) {
        assert_int_equal(rc, TC_ENOMEM);
        assert_int_equal(listen_to(&c), 0);
    }
    c.ready = c.messages = 0;
    tc_redis_unsubscribe(c.r, &c.ear);
    assert_int_equal(listen_to(&c), 0);
    conclude(&c);
    return failed;
}

static void subscription_without_memory_is_made_again(void **state) {
    (void)state;
    nomem_each(hear_and_leave, NULL);
}

/* ---- the reader alone: no loop, every allocation of a nested reply ---- */

static bool count_reply(void *arg, const redisReply *reply) {
    assert_true(reply->type == REDIS_REPLY_ARRAY && reply->elements == 3);
    assert_string_equal(reply->element[1]->element[0]->str, "inner");
    ++*(int *)arg;
    return true;
}

static bool read_reply(void *arg, enum nomem_mode mode, unsigned n) {
    static const char bytes[] = "*3\r\n$5\r\nfirst\r\n*2\r\n$5\r\ninner\r\n:7\r\n$-1\r\n";
    struct tc_reader reader;
    int got = 0;
    (void)arg;
    nomem_begin(mode, n);
    int rc = tc_reader_init(&reader);
    if (rc == 0) /* in two parts, so that half a reply is there when memory ends */
        rc = tc_reader_feed(&reader, bytes, 30, count_reply, &got);
    if (rc == 0)
        rc = tc_reader_feed(&reader, bytes + 30, sizeof bytes - 31, count_reply, &got);
    bool failed = nomem_end();
    assert_int_equal(rc, failed ? TC_ENOMEM : 0);
    assert_int_equal(got, !failed);
    assert_non_null(tc_reader_reason(&reader));
    tc_reader_fini(&reader);
    return failed;
}

static void reader_without_memory_says_so_and_gives_nothing_half(void **state) {
    (void)state;
    nomem_each(read_reply, NULL);
}

static int begin(void **state) {
    (void)state;
    redis_server_init(&server);
    redis_server_start(&server);
    return uv_loop_init(&loop);
}

static int end(void **state) {
    (void)state;
    redis_loop_end(&loop);
    redis_server_fini(&server);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_without_memory_says_so_and_gives_nothing_half),
        cmocka_unit_test(link_made_without_memory_is_refused_or_made_again),
        cmocka_unit_test(link_used_without_memory_answers_each_command_once),
        cmocka_unit_test(subscription_without_memory_is_made_again),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, begin, end);
}
