/* Connections taken over by a stream: what is sent, when room is told, and each way in which they end. */
#include "http_fixture.h"

#include "http/conn.h"

static struct http_client *streaming_client(struct fixture *f, int i, const char *request) {
    int writable = f->writable;
    struct http_client *c = fixture_client(f, i);
    f->later = NULL;
    http_client_puts(c, request);
    UNTIL(f, f->later && http_client_has(c, "\r\n\r\n"));
    assert_int_equal(f->writable, writable);
    return c;
}

#define GET_STREAM "GET /stream HTTP/1.1\r\n" HOST "\r\n"

static ssize_t send_text(struct fixture *f, const char *text) {
    union {
        const char *c;
        char *v;
    } u = {text};
    struct iovec iov = {u.v, strlen(text)};
    return http_stream_send(f->later, &iov, 1);
}

/* Sends from the big text until the socket takes no more; bytes sent. */
static size_t fill(struct fixture *f) {
    size_t total = 0;
    for (;;) {
        struct iovec iov = {f->big + total % 1024, 64 * 1024};
        ssize_t n = http_stream_send(f->later, &iov, 1);
        if (n == TC_EAGAIN)
            return total;
        assert_true(n > 0);
        total += (size_t)n;
        assert_true(total < 64u * 1024 * 1024);
    }
}

static void stream_start_sends_the_head_and_frees_the_exchange(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    assert_true(http_client_has(c, "HTTP/1.1 200 OK\r\n"));
    assert_true(http_client_has(c, "Content-Type: text/event-stream\r\n"));
    assert_true(http_client_has(c, "Cache-Control: no-cache, no-transform\r\n"));
    assert_true(http_client_has(c, "X-Accel-Buffering: no\r\n"));
    assert_true(http_client_has(c, "Connection: close\r\n"));
    assert_true(http_client_has(c, "Transfer-Encoding: chunked\r\n"));
    assert_true(http_client_has(c, "X-Stream: yes\r\n"));
    assert_true(http_stream_chunked(f->later));
    assert_null(f->later->ex);
    assert_true(sizeof(struct http_conn) <= 300);
}

static void stream_on_http_10_is_not_chunked(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, "GET /stream HTTP/1.0\r\n\r\n");
    assert_false(http_client_has(c, "Transfer-Encoding"));
    assert_false(http_stream_chunked(f->later));
}

static void stream_started_later_than_its_handler_works(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, f->later);
    for (int i = 0; i < 5; i++)
        step(f);
    begin_stream(f, f->later);
    assert_null(f->later->ex);
    assert_int_equal(send_text(f, "hello"), 5);
    UNTIL(f, http_client_has(c, "hello"));
    http_client_close(c);
    UNTIL(f, f->gone == 1);
}

static void stream_send_takes_one_and_several_pieces(void **state) {
    struct fixture *f = *state;
    char a[] = "one ", b[] = "two ", d[] = "three";
    struct iovec iov[3] = {{a, 4}, {b, 4}, {d, 5}};
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    assert_int_equal(http_stream_send(f->later, iov, 1), 4);
    assert_int_equal(http_stream_send(f->later, iov + 1, 2), 9);
    UNTIL(f, http_client_has(c, "\r\n\r\none two three"));
}

static void stream_of_a_stalled_reader_tells_room_once(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    size_t total = fill(f) + c->n;
    http_stream_want_write(f->later);
    http_stream_want_write(f->later);
    for (int i = 0; i < 20; i++)
        (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_int_equal(f->writable, 0);
    UNTIL(f, f->writable > 0);
    UNTIL(f, c->n == total);
    for (int i = 0; i < 20; i++)
        step(f);
    assert_int_equal(f->writable, 1);
    assert_true(send_text(f, "more") == 4);
    UNTIL(f, http_client_has(c, "more"));
}

static void stream_ended_clean_sends_everything_then_fin(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    size_t total = fill(f) + c->n;
    http_client_puts(c, "unread bytes would turn a close into a reset");
    http_stream_end(f->later, true);
    UNTIL(f, http_client_over(c));
    assert_true(c->eof);
    assert_int_equal(c->n, total);
    http_client_close(c);
    UNTIL(f, http_server_stats(f->server)->connections == 0);
    assert_int_equal(f->gone, 0);
}

static void stream_ended_unclean_is_reset(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    http_stream_end(f->later, false);
    UNTIL(f, http_client_over(c));
    assert_true(c->reset);
    assert_int_equal(f->gone, 0);
}

static void stream_of_a_peer_that_leaves_is_told_once(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    for (int reset = 0; reset < 2; reset++) {
        struct http_client *c = streaming_client(f, 0, GET_STREAM);
        http_stream_want_write(f->later);
        if (reset)
            http_client_abort(c);
        else
            http_client_close(c);
        UNTIL(f, f->gone == reset + 1);
        UNTIL(f, http_server_stats(f->server)->connections == 0);
        f->writable = 0;
    }
}

static void stream_of_a_peer_that_half_closes_is_gone(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
    UNTIL(f, f->gone == 1);
    UNTIL(f, http_client_over(c));
}

/* A peer that left keeps the socket readable; the loop must sleep all the same until the owner ends the stream. */
static void stream_gone_and_not_yet_ended_does_not_spin(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    f->keep_gone_stream = true;
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    http_client_close(c);
    UNTIL(f, f->gone == 1);
    assert_int_equal(f->later->watching, 0);
    assert_int_equal(send_text(f, "x"), TC_EIO);
    http_stream_want_write(f->later);
    for (int i = 0; i < 20; i++)
        step(f);
    assert_int_equal(f->gone, 1);
    assert_int_equal(f->writable, 0);
    http_stream_end(f->later, true);
    UNTIL(f, http_server_stats(f->server)->connections == 0);
}

static void stream_peer_that_talks_too_much_is_gone(void **state) {
    struct fixture *f = *state;
    char junk[4096] = "";
    fixture_start(f);
    struct http_client *c = streaming_client(f, 0, GET_STREAM);
    for (int i = 0; i < 16; i++) {
        http_client_send(c, junk, sizeof(junk));
        step(f);
    }
    UNTIL(f, f->later->discarded == 64 * 1024);
    assert_int_equal(f->gone, 0);
    http_client_send(c, junk, 1);
    UNTIL(f, f->gone == 1);
    UNTIL(f, c->reset);
}

static void stream_cannot_start_for_a_peer_that_left(void **state) {
    struct fixture *f = *state;
    struct tc_buf head;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /untold HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, f->later);
    http_client_close(c);
    UNTIL(f, f->later->gone);
    tc_buf_init(&head, 0);
    assert_int_equal(http_stream_start(f->later, 200, NULL, NULL, &head, &fixture_stream_events, f), TC_EIO);
    tc_buf_fini(&head);
    http_problem(f->later, 500, NULL, "Internal Server Error", NULL);
    UNTIL(f, http_server_stats(f->server)->connections == 0);
    assert_int_equal(f->gone, 0);
}

static void stream_without_room_for_its_head_can_be_answered(void **state) {
    struct fixture *f = *state;
    struct tc_buf head;
    fixture_start(f);
    struct http_client *c = fixture_client(f, 0);
    http_client_puts(c, "GET /later HTTP/1.1\r\n" HOST "\r\n");
    UNTIL(f, f->later);
    tc_buf_init(&head, 10);
    assert_int_equal(http_stream_start(f->later, 200, NULL, NULL, &head, &fixture_stream_events, f), TC_ENOMEM);
    tc_buf_fini(&head);
    http_problem(f->later, 503, NULL, "Service Unavailable", NULL);
    expect_answer(f, c, 503, NULL);
}

static void stream_server_close_waits_for_the_owner(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    f->keep_gone_stream = true;
    (void)streaming_client(f, 0, GET_STREAM);
    http_server_close(f->server, on_closed_flag, &f->closed);
    assert_int_equal(f->gone, 1);
    for (int i = 0; i < 20; i++)
        step(f);
    assert_false(f->closed);
    http_stream_end(f->later, false);
    UNTIL(f, f->closed);
}

static void stream_server_close_while_lingering_does_not_wait(void **state) {
    struct fixture *f = *state;
    fixture_start(f);
    (void)streaming_client(f, 0, GET_STREAM);
    http_stream_end(f->later, true);
    fixture_close(f);
    assert_int_equal(f->gone, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(stream_start_sends_the_head_and_frees_the_exchange),
        TEST(stream_on_http_10_is_not_chunked),
        TEST(stream_started_later_than_its_handler_works),
        TEST(stream_send_takes_one_and_several_pieces),
        TEST(stream_of_a_stalled_reader_tells_room_once),
        TEST(stream_ended_clean_sends_everything_then_fin),
        TEST(stream_ended_unclean_is_reset),
        TEST(stream_of_a_peer_that_leaves_is_told_once),
        TEST(stream_of_a_peer_that_half_closes_is_gone),
        TEST(stream_gone_and_not_yet_ended_does_not_spin),
        TEST(stream_peer_that_talks_too_much_is_gone),
        TEST(stream_cannot_start_for_a_peer_that_left),
        TEST(stream_without_room_for_its_head_can_be_answered),
        TEST(stream_server_close_waits_for_the_owner),
        TEST(stream_server_close_while_lingering_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
