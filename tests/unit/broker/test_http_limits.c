/* The HTTP server's bounds: sizes, times, connections, descriptors. Each must bite, and the peer must see why. */
#include "http_fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void http_refusals_are_seen_by_the_peer(void **state) {
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "\x16\x03\x01"},
        {501, "CONNECT a:1 HTTP/1.1\r\n" HOST "\r\n"},
        {505, "GET / HTTP/3.0\r\n" HOST "\r\n"},
        {413, "POST / HTTP/1.1\r\n" HOST "Content-Length: 4097\r\n\r\n"},
    };
    fixture_start(f);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct http_client *c = fixture_client(f, 0);
        http_client_puts(c, rows[i].text);
        expect_last_answer(f, c, rows[i].status);
        http_client_close(c);
    }
    assert_int_equal(http_server_stats(f->server)->bad_requests, sizeof(rows) / sizeof(rows[0]));
    assert_int_equal(f->calls, 0);
}

/* A peer that goes on sending must still find the answer, not a reset. */
static void http_refusal_of_a_giant_is_seen_while_it_sends(void **state) {
    struct fixture *f = *state;
    char junk[8192];
    memset(junk, 'x', sizeof(junk));
    fixture_start(f);
    for (int kind = 0; kind < 2; kind++) {
        struct http_client *c = fixture_client(f, 0);
        http_client_puts(c, kind ? "POST / HTTP/1.1\r\n" HOST "Content-Length: 600000\r\n\r\n"
                                 : "GET / HTTP/1.1\r\n" HOST "X: ");
        for (int i = 0; i < 40; i++) { /* it reads nothing meanwhile: a reset would now precede the answer's end */
            http_client_send(c, junk, sizeof(junk));
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        assert_false(c->refused);
        expect_last_answer(f, c, kind ? 413 : 431);
        http_client_close(c);
    }
}

static void http_silent_and_slow_peers_are_timed_out(void **state) {
    struct fixture *f = *state;
    f->opts.header_timeout_ms = f->opts.body_timeout_ms = f->opts.keepalive_ms = 300;
    fixture_start(f);
    struct http_client *head = fixture_client(f, 0), *body = fixture_client(f, 1), *idle = fixture_client(f, 2),
                       *silent = fixture_client(f, 3);
    http_client_puts(head, "GET / HT");
    http_client_puts(body, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nab");
    http_client_puts(idle, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, idle, 200, "/? ");
    expect_last_answer(f, head, 408);
    expect_last_answer(f, body, 408);
    UNTIL(f, idle->eof && silent->eof);
    assert_int_equal(idle->n + silent->n, 0);
    assert_int_equal(http_server_stats(f->server)->timeouts, 2);
    UNTIL(f, http_server_stats(f->server)->connections == 0);
}

static void http_second_request_has_its_own_time(void **state) {
    struct fixture *f = *state;
    f->opts.header_timeout_ms = 300;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\nGET");
    expect_answer(f, c, 200, "/? ");
    expect_last_answer(f, c, 408);
    http_client_close(c);
    c = fixture_client(f, 0);
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, c, 200, "/? ");
    http_client_puts(c, "GET");
    expect_last_answer(f, c, 408);
}

/* A byte now and then does not prolong the time for the header. */
static void http_slowloris_is_timed_out(void **state) {
    struct fixture *f = *state;
    f->opts.header_timeout_ms = 500;
    f->opts.max_header_bytes = 1 << 24; /* not what ends it */
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET / HTTP/1.1\r\nX: ");
    uint64_t end = uv_hrtime() + HANG_SEC * UINT64_C(1000000000);
    while (!http_client_over(c) && uv_hrtime() < end) {
        http_client_puts(c, "a");
        step(f);
    }
    assert_true(http_client_has(c, "HTTP/1.1 408 "));
}

static void http_connections_beyond_the_limit_are_answered_503(void **state) {
    struct fixture *f = *state;
    f->opts.max_connections = 2;
    fixture_start(f);
    struct http_client *a = fixture_client(f, 0);
    (void)fixture_client(f, 1);
    UNTIL(f, http_server_stats(f->server)->connections == 2);
    struct http_client *c = fixture_client(f, 2);
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_last_answer(f, c, 503);
    assert_int_equal(http_server_stats(f->server)->refused_full, 1);
    http_client_close(a);
    UNTIL(f, http_server_stats(f->server)->connections == 1);
    c = fixture_client(f, 3);
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, c, 200, "/? ");
}

static void http_connections_of_one_address_are_bounded(void **state) {
    struct fixture *f = *state;
    f->opts.max_per_address = 1;
    fixture_start(f);
    struct http_client *a = fixture_client(f, 0);
    UNTIL(f, http_server_stats(f->server)->connections == 1);
    struct http_client *b = fixture_client(f, 1);
    expect_last_answer(f, b, 429);
    assert_int_equal(http_server_stats(f->server)->refused_address, 1);
    http_client_close(a);
    UNTIL(f, http_server_stats(f->server)->connections == 0);
    b = fixture_client(f, 2);
    http_client_puts(b, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, b, 200, "/? ");
}

static void http_pipelined_surplus_is_bounded(void **state) {
    struct fixture *f = *state;
    const struct timespec pause = {.tv_nsec = 1000000};
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, f->later);
    char junk[4096];
    memset(junk, 'x', sizeof(junk));
    for (int i = 0; i < 200; i++) { /* the server reads none of it, so the kernel holds the peer back */
        http_client_send(c, junk, sizeof(junk));
        step(f);
    }
    (void)nanosleep(&pause, NULL);
    http_reply(f->later, 200, NULL, NULL, TC_STR("ok"));
    expect_answer(f, c, 200, "ok");
    expect_last_answer(f, c, 414);
}

/* In a child, because the limit is the process's. */
static int out_of_descriptors_child(struct fixture *f) {
    struct rlimit limit;
    fixture_start(f);
    struct http_client *a = fixture_client(f, 0);
    UNTIL(f, http_server_stats(f->server)->connections == 1);
    struct http_client *b = fixture_client(f, 1);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    limit.rlim_cur = (rlim_t)b->fd + 1; /* b was the lowest free one: there is none left */
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 3;
    http_client_puts(b, "GET / HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, http_server_stats(f->server)->accept_paused == 1);
    unsigned turns = 0;
    uint64_t end = uv_hrtime() + 50000000;
    while (uv_hrtime() < end) { /* paused, not spinning: UV_RUN_ONCE sleeps until the timer */
        (void)uv_run(&f->loop, UV_RUN_ONCE);
        turns++;
    }
    if (turns > 20)
        return 4;
    http_client_puts(a, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, a, 200, "/? "); /* those who are in live on */
    http_client_close(a);
    expect_answer(f, b, 200, "/? ");
    return 0;
}

static void http_without_descriptors_accepting_pauses_and_recovers(void **state) {
    struct fixture *f = *state;
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)alarm(HANG_SEC);
        (void)uv_loop_fork(&f->loop);
        _exit(out_of_descriptors_child(f));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(http_refusals_are_seen_by_the_peer),
        TEST(http_refusal_of_a_giant_is_seen_while_it_sends),
        TEST(http_silent_and_slow_peers_are_timed_out),
        TEST(http_second_request_has_its_own_time),
        TEST(http_slowloris_is_timed_out),
        TEST(http_connections_beyond_the_limit_are_answered_503),
        TEST(http_connections_of_one_address_are_bounded),
        TEST(http_pipelined_surplus_is_bounded),
        TEST(http_without_descriptors_accepting_pauses_and_recovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
