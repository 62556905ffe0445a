/* base/http_parse.h: what the servers build on holds with the parser that this machine has. */
#include "base/http_parse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct seen {
    bool pause, ignore_upgrade, abort;
    int messages;
    char body[64];
    size_t body_len;
    bool has_length, keep_alive, chunked;
    uint64_t length;
};

static int on_headers_complete(struct tc_http_parser *p) {
    struct seen *s = p->data;
    s->has_length = tc_http_content_length(p, &s->length);
    s->chunked = (p->flags & F_CHUNKED) != 0;
    if (s->ignore_upgrade)
        tc_http_ignore_upgrade(p);
    return s->abort ? TC_HTTP_ABORT : 0;
}

static int on_body(struct tc_http_parser *p, const char *at, size_t n) {
    struct seen *s = p->data;
    assert_true(s->body_len + n < sizeof(s->body));
    memcpy(s->body + s->body_len, at, n);
    s->body_len += n;
    return 0;
}

static int on_message_complete(struct tc_http_parser *p) {
    struct seen *s = p->data;
    s->messages++;
    s->keep_alive = tc_http_keep_alive(p);
    return s->pause ? tc_http_pause(p) : 0;
}

static const struct tc_http_settings settings = {
    .on_headers_complete = on_headers_complete, .on_body = on_body, .on_message_complete = on_message_complete};

static enum tc_http_result parse(struct tc_http_parser *p, const char *text, size_t *used) {
    return tc_http_execute(p, &settings, text, strlen(text), used);
}

static void parser_pauses_behind_each_pipelined_request(void **state) {
    (void)state;
    static const char three[] =
        "GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcHEAD /c HTTP/1.0\r\n\r\n";
    static const char *const methods[] = {"GET", "POST", "HEAD"};
    struct tc_http_parser p;
    struct seen s = {.pause = true};
    tc_http_init_request(&p, &settings, &s);
    size_t at = 0, used = 0;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(parse(&p, three + at, &used), TC_HTTP_PAUSED);
        assert_int_equal(s.messages, i + 1);
        assert_string_equal(tc_http_method_name(&p), methods[i]);
        assert_int_equal(s.has_length, i == 1);
        assert_int_equal(s.keep_alive, i < 2);
        tc_http_resume(&p);
        at += used;
    }
    assert_int_equal(at, sizeof(three) - 1);
    assert_int_equal(s.length == 3 || !s.has_length, true);
    assert_memory_equal(s.body, "abc", 3);
}

static void parser_joins_chunks(void **state) {
    (void)state;
    struct tc_http_parser p;
    struct seen s = {0};
    size_t used;
    tc_http_init_request(&p, &settings, &s);
    assert_int_equal(
        parse(&p, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", &used),
        TC_HTTP_OK);
    assert_int_equal(s.messages, 1);
    assert_true(s.chunked);
    assert_false(s.has_length);
    assert_int_equal(s.body_len, 5);
    assert_memory_equal(s.body, "abcde", 5);
}

static void parser_upgrades_only_when_wanted(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01";
    struct tc_http_parser p;
    struct seen s = {0};
    size_t used;
    tc_http_init_request(&p, &settings, &s);
    assert_int_equal(parse(&p, text, &used), TC_HTTP_UPGRADE);
    assert_int_equal(used, sizeof(text) - 3);

    struct seen ignoring = {.ignore_upgrade = true, .pause = true};
    tc_http_init_request(&p, &settings, &ignoring);
    assert_int_equal(parse(&p, text, &used), TC_HTTP_PAUSED);
    assert_int_equal(used, sizeof(text) - 3);
    assert_int_equal(ignoring.messages, 1);
}

static void parser_refuses_smuggling_and_nonsense(void **state) {
    (void)state;
    static const char *const bad[] = {
        "nonsense\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tc_http_parser p;
        struct seen s = {0};
        size_t used;
        tc_http_init_request(&p, &settings, &s);
        if (parse(&p, bad[i], &used) != TC_HTTP_ERROR)
            fail_msg("taken: %s", bad[i]);
        assert_non_null(tc_http_error_name(&p));
    }
}

static void callback_that_aborts_ends_in_an_error(void **state) {
    (void)state;
    struct tc_http_parser p;
    struct seen s = {.abort = true};
    size_t used;
    tc_http_init_request(&p, &settings, &s);
    assert_int_equal(parse(&p, "GET / HTTP/1.1\r\n\r\n", &used), TC_HTTP_ERROR);
    assert_int_equal(s.messages, 0);
}

static void response_without_a_length_ends_with_the_stream(void **state) {
    (void)state;
    struct tc_http_parser p;
    struct seen s = {0};
    size_t used;
    tc_http_init_response(&p, &settings, &s);
    assert_int_equal(parse(&p, "HTTP/1.1 200 OK\r\n\r\nrest", &used), TC_HTTP_OK);
    assert_int_equal(s.messages, 0);
    assert_true(tc_http_finish(&p, &settings));
    assert_int_equal(s.messages, 1);

    tc_http_init_response(&p, &settings, &s);
    assert_int_equal(parse(&p, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", &used), TC_HTTP_OK);
    assert_false(tc_http_finish(&p, &settings));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parser_pauses_behind_each_pipelined_request),
        cmocka_unit_test(parser_joins_chunks),
        cmocka_unit_test(parser_upgrades_only_when_wanted),
        cmocka_unit_test(parser_refuses_smuggling_and_nonsense),
        cmocka_unit_test(callback_that_aborts_ends_in_an_error),
        cmocka_unit_test(response_without_a_length_ends_with_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
