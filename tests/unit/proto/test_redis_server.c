/* redis/redis.h against a real redis-server: transports, logins, databases, restarts, volume. */
#include "redis/redis.h"

#include "redis_fixture.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct redis_server server; /* one for all; a test that kills it starts it again */
static uv_loop_t loop;
static struct tc_redis_options opts;
static struct redis_replies replies;
static struct redis_call call = {&replies, 0};

static int start_all(void **state) {
    (void)state;
    redis_server_init(&server);
    server.port = redis_free_port();
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
    memset(&replies, 0, sizeof(replies));
    opts.url = server.url;
    opts.backoff_min_ms = 5;
    opts.backoff_max_ms = 50;
    return uv_loop_init(&loop);
}

static int end(void **state) {
    (void)state;
    redis_loop_end(&loop);
    return 0;
}

static struct tc_redis *create(void) {
    struct tc_redis *r;
    assert_int_equal(tc_redis_create(&r, &loop, &opts), 0);
    return r;
}

static struct tc_redis *create_up(void) {
    struct tc_redis *r = create();
    redis_probe_await_up(&loop, r);
    return r;
}

static bool has_replied(void *arg) {
    return replies.n >= *(int *)arg;
}

static void await_replies(int n) {
    redis_run_until_cond(&loop, has_replied, &n);
}

struct text {
    bool done;
    char s[256];
};

static void on_text(void *arg, int err, const redisReply *reply) {
    struct text *t = arg;
    assert_int_equal(err, 0);
    if (reply->type == REDIS_REPLY_INTEGER)
        snprintf(t->s, sizeof(t->s), "%lld", reply->integer);
    else
        snprintf(t->s, sizeof(t->s), "%s", reply->str ? reply->str : "");
    t->done = true;
}

static void expect(struct tc_redis *r, const char *command, const char *answer) {
    struct text t = {.done = false};
    assert_int_equal(tc_redis_command(r, TC_STR("k"), on_text, &t, command), 0);
    redis_run_until(&loop, &t.done);
    assert_string_equal(t.s, answer);
}

static void link_over_a_unix_socket_commands(void **state) {
    (void)state;
    struct tc_redis *r = create_up();
    expect(r, "SET unix 1", "OK");
    expect(r, "GET unix", "1");
    redis_probe_close(&loop, r);
}

static void link_over_tcp_commands(void **state) {
    (void)state;
    char url[64];
    snprintf(url, sizeof(url), "redis://localhost:%d", server.port); /* ::1 is refused, 127.0.0.1 listens */
    opts.url = url;
    opts.client_name = "tc-test";
    opts.backoff_min_ms = opts.backoff_max_ms = 3600000; /* the next address is tried at once, not after a back-off */
    struct tc_redis *r = create_up();
    expect(r, "CLIENT GETNAME", "tc-test");
    redis_probe_close(&loop, r);
}

static void database_of_the_url_is_selected(void **state) {
    (void)state;
    char url[192];
    snprintf(url, sizeof(url), "%s?db=5", server.url);
    opts.url = url;
    struct tc_redis *r = create_up();
    expect(r, "SET only-in-5 x", "OK");
    redis_probe_close(&loop, r);
    opts.url = server.url;
    r = create_up();
    expect(r, "EXISTS only-in-5", "0");
    redis_probe_close(&loop, r);
}

static void database_that_does_not_exist_keeps_the_link_down(void **state) {
    (void)state;
    char url[192];
    snprintf(url, sizeof(url), "%s?db=500", server.url);
    opts.url = url;
    struct tc_redis *r = create();
    redis_run_for(&loop, 100);
    assert_false(tc_redis_is_up(r));
    redis_probe_close(&loop, r);
}

static void user_of_the_access_list_logs_in(void **state) {
    (void)state;
    redis_server_do(&server, "ACL SETUSER writer on >s3cret ~tc:* +@all");
    char url[192], file[128];
    snprintf(url, sizeof(url), "unix://writer:s3cret@%s", server.sock);
    opts.url = url;
    struct tc_redis *r = create_up();
    expect(r, "ACL WHOAMI", "writer");
    redis_probe_close(&loop, r);

    snprintf(url, sizeof(url), "unix://writer:wrong@%s", server.sock);
    r = create();
    redis_run_for(&loop, 50);
    assert_false(tc_redis_is_up(r));
    redis_probe_close(&loop, r);

    /* The file wins over the URL, and its line end is no part of it. */
    snprintf(file, sizeof(file), "%s/password", server.dir);
    FILE *f = fopen(file, "w");
    fputs("s3cret\r\n", f);
    fclose(f);
    opts.password_file = file;
    r = create_up();
    expect(r, "ACL WHOAMI", "writer");
    redis_probe_close(&loop, r);
}

static void user_without_ping_comes_up(void **state) {
    (void)state;
    redis_server_do(&server, "ACL SETUSER few on >p ~* +get +acl|whoami");
    char url[192];
    snprintf(url, sizeof(url), "unix://few:p@%s", server.sock);
    opts.url = url;
    opts.client_name = "not-allowed-either";
    struct tc_redis *r = create_up();
    expect(r, "ACL WHOAMI", "few");
    redis_probe_close(&loop, r);
}

static void password_that_is_missing_is_asked_for_until_it_fits(void **state) {
    (void)state;
    redis_server_do(&server, "CONFIG SET requirepass later");
    struct tc_redis *r = create();
    redis_run_for(&loop, 100);
    assert_false(tc_redis_is_up(r));
    /* The default user of a connection of its own: log in first. */
    redisContext *c = redisConnectUnix(server.sock);
    freeReplyObject(redisCommand(c, "AUTH later"));
    freeReplyObject(redisCommand(c, "CONFIG SET requirepass %s", ""));
    redisFree(c);
    redis_probe_await_up(&loop, r);
    redis_probe_close(&loop, r);
}

/* 64 MiB through a link whose socket takes a fraction of it at once: the rest waits in the write request. */
static void volume_larger_than_the_socket_arrives_whole(void **state) {
    (void)state;
    enum { COUNT = 64, SIZE = 1 << 20 };
    opts.command_timeout_ms = 60000;
    opts.max_out_bytes = (size_t)128 << 20;
    struct tc_redis *r = create_up();
    char *block = malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        block[i] = (char)i;
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "SET big %b", block, (size_t)SIZE), 0);
        assert_int_equal(tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "GET big"), 0);
    }
    await_replies(2 * COUNT);
    assert_int_equal(replies.ok, 2 * COUNT);
    expect(r, "STRLEN big", "1048576");
    expect(r, "DEL big", "1");
    free(block);
    redis_probe_close(&loop, r);
}

static void transaction_stays_together_and_nested_replies_parse(void **state) {
    (void)state;
    struct tc_redis *r = create_up();
    expect(r, "MULTI", "OK");
    expect(r, "XADD s 1-1 e x", "QUEUED");
    struct text t = {.done = false};
    assert_int_equal(tc_redis_command(r, TC_STR("s"), redis_on_reply, &call, "XRANGE s - +"), 0);
    assert_int_equal(tc_redis_command(r, TC_STR("s"), on_text, &t, "EXEC"), 0);
    redis_run_until(&loop, &t.done);
    expect(r, "DEL s", "1");
    redis_probe_close(&loop, r);
}

static bool is_down(void *arg) {
    return !tc_redis_is_up(arg);
}

static void server_killed_and_restarted_is_found_again(void **state) {
    (void)state;
    struct tc_redis *r = create_up();
    struct redis_probe probe;
    redis_probe_attach(&probe, r);
    redis_server_do(&server, "DEL q");
    for (int i = 0; i < 10; i++)
        assert_int_equal(tc_redis_command(r, TC_STR("q"), redis_on_reply, &call, "BLPOP q 0"), 0);
    redis_run_for(&loop, 20);
    redis_server_kill(&server);
    redis_run_until_cond(&loop, is_down, r);
    assert_int_equal(replies.failed, 10);
    assert_int_equal(replies.last_err, TC_ELINK);
    assert_int_equal(probe.downs, 1);
    assert_int_equal(tc_redis_command(r, TC_STR("q"), redis_on_reply, &call, "PING"), TC_ELINK);
    redis_server_start(&server);
    redis_probe_await_up(&loop, r);
    assert_int_equal(probe.ups, 1);
    expect(r, "PING", "PONG");
    assert_int_equal(replies.n, 10);
    redis_probe_close(&loop, r);
}

static void server_that_stands_still_times_out_and_is_found_again(void **state) {
    (void)state;
    opts.command_timeout_ms = 50;
    opts.connect_timeout_ms = 100;
    struct tc_redis *r = create_up();
    kill(server.pid, SIGSTOP);
    assert_int_equal(tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "PING"), 0);
    await_replies(1);
    assert_int_equal(replies.last_err, TC_ETIMEOUT);
    redis_run_for(&loop, 150); /* some connects time out, too */
    kill(server.pid, SIGCONT);
    redis_probe_await_up(&loop, r);
    expect(r, "PING", "PONG");
    redis_probe_close(&loop, r);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(link_over_a_unix_socket_commands),
        TEST(link_over_tcp_commands),
        TEST(database_of_the_url_is_selected),
        TEST(database_that_does_not_exist_keeps_the_link_down),
        TEST(user_of_the_access_list_logs_in),
        TEST(user_without_ping_comes_up),
        TEST(password_that_is_missing_is_asked_for_until_it_fits),
        TEST(volume_larger_than_the_socket_arrives_whole),
        TEST(transaction_stays_together_and_nested_replies_parse),
        TEST(server_killed_and_restarted_is_found_again),
        TEST(server_that_stands_still_times_out_and_is_found_again),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
