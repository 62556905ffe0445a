/* rediss:// against a redis-server whose certificates are made here: who is trusted, and who is not. */
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

static struct redis_server server;
static char ca[96], other_ca[96], cert[96], key[96], server_cert[96];
static char url[64];
static struct tc_redis_options opts;
static uv_loop_t loop;

static void run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static void run(const char *format, ...) {
    char command[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(command, sizeof(command), format, ap);
    va_end(ap);
    if (system(command) != 0)
        fail_msg("%s", command);
}

#define NEW_KEY "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 2>/dev/null"

static void make_ca(const char *name) {
    run("cd %s && openssl req -x509 -subj '/CN=%s' -keyout %s.key -out %s.pem " NEW_KEY, server.dir, name, name, name);
}

/* `names` as in subjectAltName. */
static void make_cert(const char *name, const char *names) {
    run("cd %s && openssl req -subj '/CN=%s' -keyout %s.key -out %s.csr " NEW_KEY, server.dir, name, name, name);
    run("cd %s && printf 'subjectAltName=%s' >ext && openssl x509 -req -in %s.csr -CA ca.pem -CAkey ca.key "
        "-CAcreateserial -days 2 -extfile ext -out %s.pem 2>/dev/null",
        server.dir, names, name, name);
}

static int start_all(void **state) {
    (void)state;
    redis_server_init(&server);
    make_ca("ca");
    make_ca("other");
    make_cert("server", "DNS:localhost");
    make_cert("elsewhere", "DNS:elsewhere");
    make_cert("client", "DNS:client");
    snprintf(ca, sizeof(ca), "%s/ca.pem", server.dir);
    snprintf(other_ca, sizeof(other_ca), "%s/other.pem", server.dir);
    snprintf(cert, sizeof(cert), "%s/client.pem", server.dir);
    snprintf(key, sizeof(key), "%s/client.key", server.dir);
    snprintf(server_cert, sizeof(server_cert), "%s/server.pem", server.dir);
    server.tls_port = redis_free_port();
    const char *extra[] = {"--tls-cert-file",    "server.pem", "--tls-key-file",     "server.key",
                           "--tls-ca-cert-file", "ca.pem",     "--tls-auth-clients", "optional"};
    memcpy(server.extra, extra, sizeof(extra));
    redis_server_start(&server);
    snprintf(url, sizeof(url), "rediss://localhost:%d", server.tls_port);
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
    opts.url = url;
    opts.ca_file = ca;
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

static void expect_refused(void) {
    struct tc_redis *r = create();
    redis_run_for(&loop, 250);
    assert_false(tc_redis_is_up(r));
    assert_int_equal(tc_redis_stats(r)->connects, 0);
    redis_probe_close(&loop, r);
}

static bool has_reply(void *arg) {
    return ((struct redis_replies *)arg)->n >= 1;
}

static void expect_commands(void) {
    struct redis_replies replies = {0};
    struct redis_call call = {&replies, 0};
    struct tc_redis *r = create();
    redis_probe_await_up(&loop, r);
    assert_int_equal(tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "PING"), 0);
    redis_run_until_cond(&loop, has_reply, &replies);
    assert_int_equal(replies.ok, 1);
    redis_probe_close(&loop, r);
}

static void server_of_the_authority_is_trusted(void **state) {
    (void)state;
    expect_commands();
}

static void server_of_another_authority_is_refused(void **state) {
    (void)state;
    opts.ca_file = other_ca;
    expect_refused();
    opts.ca_file = NULL; /* nor does the system know it */
    expect_refused();
}

static void server_with_another_name_is_refused(void **state) {
    (void)state;
    char by_address[64];
    snprintf(by_address, sizeof(by_address), "rediss://127.0.0.1:%d", server.tls_port);
    opts.url = by_address; /* the certificate is localhost's only */
    expect_refused();
    redis_server_do(&server, "CONFIG SET tls-cert-file elsewhere.pem tls-key-file elsewhere.key");
    opts.url = url;
    expect_refused();
    redis_server_do(&server, "CONFIG SET tls-cert-file server.pem tls-key-file server.key");
    expect_commands();
}

static void insecure_trusts_anybody(void **state) {
    (void)state;
    char by_address[64];
    snprintf(by_address, sizeof(by_address), "rediss://127.0.0.1:%d", server.tls_port);
    opts.url = by_address;
    opts.ca_file = other_ca;
    opts.tls_insecure = true;
    expect_commands();
}

static void client_certificate_is_shown(void **state) {
    (void)state;
    redis_server_do(&server, "CONFIG SET tls-auth-clients yes");
    expect_refused();
    opts.cert_file = cert;
    opts.key_file = key;
    expect_commands();
    redis_server_do(&server, "CONFIG SET tls-auth-clients no");
}

static void key_of_another_certificate_is_refused_at_create(void **state) {
    (void)state;
    struct tc_redis *r;
    opts.cert_file = server_cert;
    opts.key_file = key;
    assert_int_equal(tc_redis_create(&r, &loop, &opts), TC_ETLS);
}

static bool all_back(void *arg) {
    return ((struct redis_replies *)arg)->n >= 64;
}

static void volume_over_tls_arrives_whole(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    struct redis_replies replies = {0};
    struct redis_call call = {&replies, 0};
    opts.command_timeout_ms = 60000;
    struct tc_redis *r = create();
    redis_probe_await_up(&loop, r);
    char *block = calloc(1, SIZE);
    for (int i = 0; i < 32; i++) {
        assert_int_equal(tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "SET big %b", block, (size_t)SIZE), 0);
        assert_int_equal(tc_redis_command(r, TC_STR("k"), redis_on_reply, &call, "GET big"), 0);
    }
    redis_run_until_cond(&loop, all_back, &replies);
    assert_int_equal(replies.ok, 64);
    assert_int_equal(redis_server_do(&server, "STRLEN big"), SIZE);
    free(block);
    redis_probe_close(&loop, r);
}

static void close_at_every_turn_of_a_handshake_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 60; turns++) {
        struct redis_fake fake = {.silent = true};
        char plain[64];
        bool with_fake = turns % 2;
        if (with_fake) { /* accepts and says nothing: the handshake never ends */
            redis_fake_start(&fake, &loop);
            snprintf(plain, sizeof(plain), "rediss://127.0.0.1:%d", fake.port);
            opts.url = plain;
        } else {
            opts.url = url;
        }
        opts.connect_timeout_ms = 20;
        struct tc_redis *r = create();
        for (int i = 0; i < turns; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            uv_sleep(turns > 40);
        }
        redis_probe_close(&loop, r);
        if (with_fake)
            redis_fake_stop(&fake);
        redis_run_for(&loop, 1);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(server_of_the_authority_is_trusted),  TEST(server_of_another_authority_is_refused),
        TEST(server_with_another_name_is_refused), TEST(insecure_trusts_anybody),
        TEST(client_certificate_is_shown),         TEST(key_of_another_certificate_is_refused_at_create),
        TEST(volume_over_tls_arrives_whole),       TEST(close_at_every_turn_of_a_handshake_ends_clean),
    };
    return cmocka_run_group_tests(tests, start_all, stop_all);
}
