/* The HTTP server as clients see it: requests, answers, and peers that leave. Limits: test_http_limits.c; streams:
 * test_http_stream.c. */
#include "http_fixture.h"

#include "http/conn.h"

#include <stdio.h>

static void http_get_is_answered_and_the_connection_kept(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    for (int i = 0; i < 3; i++) {
        http_client_puts(c, "GET /a?b=c HTTP/1.1\r\n" HOST "\r\n");
        UNTIL(f, http_client_has(c, " "));
        expect_answer(f, c, 200, "/a?b=c ");
    }
    assert_int_equal(http_server_stats(f->server)->accepted, 1);
    assert_int_equal(http_server_stats(f->server)->requests, 3);
    assert_int_equal(http_server_stats(f->server)->connections, 1);
}

static void http_request_cut_anywhere_is_answered(void **state) {
    struct fixture *f = *state;
    static const char text[] = "POST /p HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        http_client_send(c, text, cut);
        step(f);
        step(f);
        assert_int_equal(c->n, 0);
        http_client_send(c, text + cut, sizeof(text) - 1 - cut);
        expect_answer(f, c, 200, "/p? abc");
    }
}

static void http_pipelined_requests_are_answered_in_order_without_nesting(void **state) {
    struct fixture *f = *state;
    char text[2048] = "";
    size_t n = 0;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    for (int i = 0; i < 20; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, "GET /%d HTTP/1.1\r\n" HOST "\r\n", i);
    http_client_send(c, text, n);
    for (int i = 0; i < 20; i++) {
        char want[16];
        (void)snprintf(want, sizeof(want), "/%d? ", i);
        expect_answer(f, c, 200, want);
    }
    assert_int_equal(f->max_depth, 1);
}

static void http_pipelined_request_waits_for_a_late_answer(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /second HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, f->later);
    for (int i = 0; i < 20; i++)
        step(f);
    assert_int_equal(f->calls, 1);
    http_reply(f->later, 200, NULL, NULL, TC_STR("first"));
    assert_int_equal(f->calls, 1); /* not from inside http_reply() */
    expect_answer(f, c, 200, "first");
    expect_answer(f, c, 200, "/second? ");
}

static void http_head_answers_length_without_body(void **state) {
    struct fixture *f = *state;
    int status;
    struct tc_str body;
    size_t length;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "HEAD /abc HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, http_client_answer(c, true, &status, &body, &length));
    assert_true(http_client_has(c, "Content-Length: 6\r\n"));
    assert_int_equal(c->n, length);
    http_client_drop(c, length);
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, c, 200, "/? ");
}

static void http_answer_204_has_no_length(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /empty HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, http_client_has(c, "\r\n\r\n"));
    assert_false(http_client_has(c, "Content-"));
    expect_answer(f, c, 204, "");
}

static void http_extra_headers_are_sent_once(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /extra HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, http_client_has(c, "\r\n\r\nx"));
    assert_true(http_client_has(c, "\r\nX-Extra: once\r\n"));
    expect_answer(f, c, 200, "x");
    http_client_puts(c, "GET /extra HTTP/1.1\r\n" HOST "\r\nGET /a HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, c, 200, "x");
    UNTIL(f, http_client_has(c, "/a? "));
    assert_false(http_client_has(c, "X-Extra"));
    assert_true(http_client_has(c, "X-Echo: yes\r\n"));
}

static void http_problem_is_escaped_json(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /problem HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, http_client_has(c, "}\n"));
    assert_true(http_client_has(c, "Content-Type: application/problem+json\r\n"));
    expect_answer(
        f, c, 409,
        "{\"type\":\"/problems/conflict\",\"title\":\"Con\\\"flict\",\"status\":409,\"detail\":\"de\\ntail\"}\n");
    assert_int_equal(http_server_stats(f->server)->responses_4xx, 1);
}

static void http_10_is_closed_unless_it_asks_otherwise(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0), *d = fixture_client(f, 1);
    http_client_puts(c, "GET / HTTP/1.0\r\n\r\n");
    expect_last_answer(f, c, 200);
    http_client_puts(d, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    UNTIL(f, http_client_has(d, "Connection: keep-alive\r\n"));
    expect_answer(f, d, 200, "/? ");
    assert_false(http_client_over(d));
}

static void http_continue_is_sent_before_the_body(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    expect_answer(f, c, 100, "");
    http_client_puts(c, "ab");
    expect_answer(f, c, 200, "/? ab");
    http_client_puts(c, "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 9999\r\n\r\n");
    expect_last_answer(f, c, 413);
}

static void http_big_answer_reaches_a_slow_reader_whole(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /big HTTP/1.1\r\n" HOST "\r\nGET /a HTTP/1.1\r\n" HOST "\r\n");
    for (int i = 0; i < 50; i++) /* not a byte read: the server must keep the rest */
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    int status;
    struct tc_str body;
    size_t length;
    UNTIL(f, http_client_answer(c, false, &status, &body, &length));
    assert_int_equal(body.n, BIG);
    assert_memory_equal(body.p, f->big, BIG);
    http_client_drop(c, length);
    expect_answer(f, c, 200, "/a? ");
}

static void http_two_servers_share_a_port(void **state) {
    struct fixture *f = *state;
    struct http_server *second;
    bool second_closed = false;
    char listen[32];
    f->opts.reuse_port = true;
    fixture_start(f);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%d", http_server_port(f->server));
    struct http_options opts = f->opts;
    opts.listen = listen;
    assert_int_equal(http_server_create(&second, &f->loop, &opts, on_fixture_request, f), 0);
    assert_int_equal(http_server_port(second), http_server_port(f->server));
    for (int i = 0; i < 64; i++) {
        struct http_client *c = fixture_client(f, 0);
        http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
        expect_answer(f, c, 200, "/? ");
        http_client_close(c);
    }
    assert_int_equal(http_server_stats(second)->accepted + http_server_stats(f->server)->accepted, 64);
    assert_true(http_server_stats(second)->accepted > 0);
    assert_true(http_server_stats(f->server)->accepted > 0);
    http_server_close(second, on_closed_flag, &second_closed);
    UNTIL(f, second_closed);
}

static void http_port_in_use_is_an_error_and_schedules_nothing(void **state) {
    struct fixture *f = *state;
    struct http_server *second = NULL;
    char listen[32];
    fixture_start(f);
    (void)snprintf(listen, sizeof(listen), "127.0.0.1:%d", http_server_port(f->server));
    struct http_options opts = f->opts;
    opts.listen = listen;
    assert_int_equal(http_server_create(&second, &f->loop, &opts, on_fixture_request, f), TC_ECONNECT);
    opts.listen = "127.0.0.1:99999";
    assert_true(http_server_create(&second, &f->loop, &opts, on_fixture_request, f) < 0);
    assert_null(second);
}

static void http_late_answer_is_sent(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, f->later);
    http_reply(f->later, 200, NULL, NULL, TC_STR("late"));
    expect_answer(f, c, 200, "late");
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_answer(f, c, 200, "/? ");
    assert_int_equal(f->gone, 0);
}

static void http_peer_gone_before_the_answer_is_told(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    for (int reset = 0; reset < 2; reset++) {
        struct http_client *c = fixture_client(f, 0);
        http_client_puts(c, "GET /later HTTP/1.1\r\n" HOST "\r\nGET /pipelined HTTP/1.1\r\n" HOST "\r\n");
        UNTIL(f, f->later);
        if (reset)
            http_client_abort(c);
        else
            http_client_close(c);
        UNTIL(f, f->gone == reset + 1);
        UNTIL(f, http_server_stats(f->server)->connections == 0);
    }
    assert_int_equal(f->calls, 2);
}

static void http_peer_gone_without_on_gone_takes_the_answer_quietly(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    for (int reset = 0; reset < 2; reset++) {
        struct http_client *c = fixture_client(f, 0);
        f->later = NULL;
        http_client_puts(c, "GET /untold HTTP/1.1\r\n" HOST "\r\n");
        UNTIL(f, f->later);
        if (reset)
            http_client_abort(c);
        else
            http_client_close(c);
        UNTIL(f, f->later->gone);
        assert_int_equal(f->later->watching, 0); /* or the loop would spin on the dead socket */
        assert_int_equal(http_server_stats(f->server)->connections, 1);
        http_reply(f->later, 200, NULL, NULL, TC_STR("late"));
        UNTIL(f, http_server_stats(f->server)->connections == 0);
    }
}

static void http_reset_in_every_phase_leaves_nothing(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {"", "GET", "POST / HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nab",
                                        "GET /big HTTP/1.1\r\n" HOST "\r\n", "GET / HTTP/1.1\r\n" HOST "\r\n"};
    fixture_start(f);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct http_client *c = fixture_client(f, 0);
        http_client_puts(c, texts[i]);
        for (int k = 0; k < 5; k++)
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        http_client_abort(c);
        UNTIL(f, http_server_stats(f->server)->accepted == i + 1 && http_server_stats(f->server)->connections == 0);
    }
}

static void http_server_closed_in_every_phase_leaves_an_empty_loop(void **state) {
    struct fixture *f = *state;
    static const char *const texts[] = {"",
                                        "GET",
                                        "POST / HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nab",
                                        "GET /later HTTP/1.1\r\n" HOST "\r\n",
                                        "GET /untold HTTP/1.1\r\n" HOST "\r\n",
                                        "GET /big HTTP/1.1\r\n" HOST "\r\n",
                                        "GET / HTTP/1.1\r\n" HOST "\r\n",
                                        "GET / HTTP/1.1\r\n\r\n",
                                        "GET /stream HTTP/1.1\r\n" HOST "\r\n",
                                        "GET /close-server HTTP/1.1\r\n" HOST "\r\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        f->closed = false;
        f->gone = 0;
        f->later = NULL;
        fixture_start(f);
        struct http_client *c = fixture_client(f, 0);
        http_client_puts(c, texts[i]);
        for (int k = 0; k < 5; k++)
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        if (i + 1 < sizeof(texts) / sizeof(texts[0]))
            fixture_close(f);
        UNTIL(f, f->closed);
        assert_int_equal(f->gone, strstr(texts[i], "/later") || strstr(texts[i], "/stream") ? 1 : 0);
        assert_int_equal(uv_run(&f->loop, UV_RUN_NOWAIT), 0);
        f->server = NULL;
        http_client_close(c);
    }
}

static void http_server_that_stopped_accepting_serves_and_then_closes(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    UNTIL(f, http_server_stats(f->server)->connections == 1);
    http_server_stop_accepting(f->server);
    http_server_stop_accepting(f->server);
    http_client_puts(c, "GET / HTTP/1.1\r\n" HOST "\r\n");
    expect_last_answer(f, c, 200);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(http_get_is_answered_and_the_connection_kept),
        TEST(http_request_cut_anywhere_is_answered),
        TEST(http_pipelined_requests_are_answered_in_order_without_nesting),
        TEST(http_pipelined_request_waits_for_a_late_answer),
        TEST(http_head_answers_length_without_body),
        TEST(http_answer_204_has_no_length),
        TEST(http_extra_headers_are_sent_once),
        TEST(http_problem_is_escaped_json),
        TEST(http_10_is_closed_unless_it_asks_otherwise),
        TEST(http_continue_is_sent_before_the_body),
        TEST(http_big_answer_reaches_a_slow_reader_whole),
        TEST(http_two_servers_share_a_port),
        TEST(http_port_in_use_is_an_error_and_schedules_nothing),
        TEST(http_late_answer_is_sent),
        TEST(http_peer_gone_before_the_answer_is_told),
        TEST(http_peer_gone_without_on_gone_takes_the_answer_quietly),
        TEST(http_reset_in_every_phase_leaves_nothing),
        TEST(http_server_closed_in_every_phase_leaves_an_empty_loop),
        TEST(http_server_that_stopped_accepting_serves_and_then_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
