/* Requests out of a byte stream: cut anywhere they read the same; what two servers could read differently is refused.
 */
#include "http/request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOST "Host: a.example\r\n"

static int feed(struct request *r, const char *text, size_t n) {
    size_t room = request_room(r);
    assert_int_equal(request_append(r, text, n < room ? n : room), 0);
    return request_parse(r);
}

/* The result for `text` given at once, which must be that for each cut in two and for single bytes. */
static int result_of(const char *text) {
    size_t n = strlen(text);
    int want = 0;
    for (size_t cut = 0; cut <= n; cut++) {
        struct request r;
        request_init(&r, 1024, 64);
        int rc = feed(&r, text, cut);
        if (rc == 0)
            rc = feed(&r, text + cut, n - cut);
        if (cut == 0)
            want = rc;
        assert_int_equal(rc, want);
        request_fini(&r);
    }
    return want;
}

static void request_cut_anywhere_reads_the_same(void **state) {
    (void)state;
    static const char text[] = "POST /v1/x?after=1-2 HTTP/1.1\r\n" HOST "Content-Type:  application/json \r\n"
                               "X-Empty:\r\nLast-Event-ID: 1-2\r\nContent-Length: 11\r\n\r\nhello world";
    for (size_t cut = 0; cut <= sizeof(text) - 1; cut++) {
        struct request r;
        request_init(&r, 1024, 64);
        int rc = feed(&r, text, cut);
        if (cut < sizeof(text) - 1) {
            assert_int_equal(rc, 0);
            rc = feed(&r, text + cut, sizeof(text) - 1 - cut);
        }
        assert_int_equal(rc, 1);
        const struct http_request *req = &r.parsed;
        assert_int_equal(req->method, HTTP_M_POST);
        assert_true(tc_str_is(req->path, "/v1/x"));
        assert_true(tc_str_is(req->query, "after=1-2"));
        assert_true(tc_str_is(req->body, "hello world"));
        assert_int_equal(req->field_count, 5);
        assert_true(tc_str_is(http_header(req, "content-type"), "application/json"));
        assert_true(tc_str_is(http_header(req, "last-event-id"), "1-2"));
        assert_non_null(http_header(req, "x-empty").p);
        assert_int_equal(http_header(req, "x-empty").n, 0);
        assert_null(http_header(req, "absent").p);
        assert_false(req->http10);
        assert_true(r.head.keep_alive);
        request_fini(&r);
    }
}

static void request_chunked_byte_by_byte_has_its_body(void **state) {
    (void)state;
    static const char text[] = "PUT /c HTTP/1.1\r\n" HOST "Transfer-Encoding: Chunked\r\n\r\n"
                               "6;x=y\r\nhello \r\n5\r\nworld\r\n0\r\nA: b\r\n\r\nGET /next HTTP/1.1\r\n" HOST "\r\n";
    struct request r;
    int rc = 0;
    size_t i = 0;
    request_init(&r, 1024, 64);
    while (rc == 0 && i < sizeof(text) - 1)
        rc = feed(&r, text + i++, 1);
    assert_int_equal(rc, 1);
    assert_true(tc_str_is(r.parsed.body, "hello world"));
    assert_false(request_next(&r));
    assert_int_equal(feed(&r, text + i, sizeof(text) - 1 - i), 1);
    assert_true(tc_str_is(r.parsed.path, "/next"));
    request_fini(&r);
}

static void request_pipelined_come_in_order(void **state) {
    (void)state;
    static const char text[] = "GET /1 HTTP/1.1\r\n" HOST "\r\n\r\n\r\nPOST /2 HTTP/1.1\r\n" HOST
                               "Content-Length: 2\r\n\r\nabGET /3 HTTP/1.1\r\n" HOST "\r\nGET /4";
    struct request r;
    request_init(&r, 1024, 64);
    assert_int_equal(feed(&r, text, sizeof(text) - 1), 1);
    assert_true(tc_str_is(r.parsed.path, "/1"));
    assert_true(request_next(&r));
    assert_int_equal(request_parse(&r), 1);
    assert_true(tc_str_is(r.parsed.path, "/2"));
    assert_true(tc_str_is(r.parsed.body, "ab"));
    assert_true(request_next(&r));
    assert_int_equal(request_parse(&r), 1);
    assert_true(tc_str_is(r.parsed.path, "/3"));
    assert_int_equal(r.parsed.body.n, 0);
    assert_true(request_next(&r));
    assert_int_equal(request_parse(&r), 0);
    request_fini(&r);
}

static void request_target_forms_give_their_path(void **state) {
    (void)state;
    static const struct {
        const char *target, *path, *query;
    } rows[] = {
        {"/", "/", ""},
        {"/a%20b?x=%2F&y", "/a%20b", "x=%2F&y"},
        {"http://a.example/p?q", "/p", "q"},
        {"http://a.example:80", "/", ""},
        {"HTTPS://a.example?q", "/", "q"},
        {"*", "*", ""},
        {"/a?b?c", "/a", "b?c"},
        {"//a", "//a", ""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[256];
        struct request r;
        (void)snprintf(text, sizeof(text), "OPTIONS %s HTTP/1.1\r\n" HOST "\r\n", rows[i].target);
        request_init(&r, 1024, 64);
        assert_int_equal(feed(&r, text, strlen(text)), 1);
        assert_true(tc_str_is(r.parsed.path, rows[i].path));
        assert_true(tc_str_is(r.parsed.query, rows[i].query));
        request_fini(&r);
    }
}

static void request_ambiguous_or_malformed_is_refused(void **state) {
    (void)state;
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Content-Length : 3\r\n\r\nabc"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nzz\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\nHost: a\n\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\rX: y\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\x01\r\n\r\n"},
        {400, "GET /\tHTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /a b HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /a#b HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET a HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "no colon\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST ": empty\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n" HOST "b@d: name\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
        {400, "hello\r\n\r\n"},
        {400, "\x16\x03\x01\x02"},
        {417, "POST / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
        {501, "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n"},
        {501, "CONNECT a.example:443 HTTP/1.1\r\n" HOST "\r\n"},
        {501, "BREW / HTTP/1.1\r\n" HOST "\r\n"},
        {505, "GET / HTTP/2.0\r\n" HOST "\r\n"},
        {505, "GET / HTTP/1.2\r\n" HOST "\r\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int rc = result_of(rows[i].text);
        if (rc != rows[i].status)
            fail_msg("row %zu answers %d, not %d: %s", i, rc, rows[i].status, rows[i].text);
    }
}

static void request_with_nul_is_refused(void **state) {
    (void)state;
    static const char text[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    struct request r;
    request_init(&r, 1024, 64);
    assert_int_equal(feed(&r, text, sizeof(text) - 1), 400);
    request_fini(&r);
}

static void request_harmless_oddities_are_taken(void **state) {
    (void)state;
    static const char *const texts[] = {
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nhOST: a:80\r\nUpgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n",
        "PATCH / HTTP/1.1\r\n" HOST "\r\n",
        "POST / HTTP/1.1\r\n" HOST "Content-Length: 003\r\n\r\nabc",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (result_of(texts[i]) != 1)
            fail_msg("refused: %s", texts[i]);
}

static char *long_text(const char *prefix, size_t n, const char *suffix) {
    size_t a = strlen(prefix), b = strlen(suffix);
    char *text = malloc(a + n + b + 1);
    assert_non_null(text);
    memcpy(text, prefix, a);
    memset(text + a, 'x', n);
    memcpy(text + a + n, suffix, b + 1);
    return text;
}

static int limit_result(char *text, size_t max_head, size_t max_body) {
    struct request r;
    request_init(&r, max_head, max_body);
    int rc = feed(&r, text, strlen(text));
    request_fini(&r);
    free(text);
    return rc;
}

static void request_at_each_limit_passes_and_beyond_is_refused(void **state) {
    (void)state;
    const size_t fixed = strlen("GET / HTTP/1.1\r\n" HOST "X: \r\n\r\n");
    const char *head = "GET / HTTP/1.1\r\n" HOST "X: ";
    assert_int_equal(limit_result(long_text(head, 500 - fixed, "\r\n\r\n"), 500, 0), 1);
    assert_int_equal(limit_result(long_text(head, 501 - fixed, "\r\n\r\n"), 500, 0), 431);
    assert_int_equal(limit_result(long_text("GET /", 600, ""), 500, 0), 414);
    assert_int_equal(limit_result(long_text("", 600, ""), 500, 0), 414);
    const char *body = "POST / HTTP/1.1\r\n" HOST "Content-Length: 100\r\n\r\n";
    assert_int_equal(limit_result(long_text(body, 100, ""), 500, 100), 1);
    assert_int_equal(limit_result(long_text(body, 0, ""), 500, 99), 413);
    const char *chunked = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n64\r\n";
    assert_int_equal(limit_result(long_text(chunked, 100, "\r\n0\r\n\r\n"), 500, 100), 1);
    assert_int_equal(limit_result(long_text(chunked, 0, ""), 500, 99), 413);
}

/* Chunk framing takes six times the room of these bytes; it must not count. */
static void request_of_tiny_chunks_needs_room_for_its_payload_only(void **state) {
    (void)state;
    struct request r;
    const char *head = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n";
    request_init(&r, 100, 64);
    assert_int_equal(feed(&r, head, strlen(head)), 0);
    for (int i = 0; i < 64; i++) {
        assert_true(request_room(&r) >= 6);
        assert_int_equal(feed(&r, "1\r\nx\r\n", 6), 0);
    }
    assert_int_equal(feed(&r, "0\r\n\r\n", 5), 1);
    assert_int_equal(r.parsed.body.n, 64);
    request_fini(&r);
}

static void request_with_too_many_fields_is_refused(void **state) {
    (void)state;
    for (int extra = 0; extra < 2; extra++) {
        struct tc_buf text;
        struct request r;
        tc_buf_init(&text, 0);
        tc_buf_puts(&text, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 0; i < HTTP_MAX_HEADERS - 1 + extra; i++)
            tc_buf_puts(&text, "A: b\r\n");
        tc_buf_puts(&text, "\r\n");
        request_init(&r, 4096, 0);
        assert_int_equal(feed(&r, text.data, text.len), extra ? 431 : 1);
        request_fini(&r);
        tc_buf_fini(&text);
    }
}

static void request_keep_alive_follows_version_and_connection(void **state) {
    (void)state;
    static const struct {
        bool keep;
        const char *text;
    } rows[] = {
        {true, "GET / HTTP/1.1\r\n" HOST "\r\n"},
        {false, "GET / HTTP/1.1\r\n" HOST "Connection: foo, CLOSE\r\n\r\n"},
        {false, "GET / HTTP/1.1\r\n" HOST "Connection: keep-alive\r\nConnection: close\r\n\r\n"},
        {false, "GET / HTTP/1.0\r\n\r\n"},
        {true, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct request r;
        request_init(&r, 1024, 0);
        assert_int_equal(feed(&r, rows[i].text, strlen(rows[i].text)), 1);
        assert_int_equal(r.head.keep_alive, rows[i].keep);
        request_fini(&r);
    }
}

static void request_continue_is_wanted_once_and_only_before_the_body(void **state) {
    (void)state;
    static const char head[] = "POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 2\r\n\r\nab";
    struct request r;
    request_init(&r, 1024, 64);
    assert_int_equal(feed(&r, head, sizeof(head) - 3), 0);
    assert_true(request_wants_continue(&r));
    assert_false(request_wants_continue(&r));
    request_fini(&r);
    request_init(&r, 1024, 64);
    assert_int_equal(feed(&r, head, sizeof(head) - 2), 0);
    assert_false(request_wants_continue(&r));
    request_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_cut_anywhere_reads_the_same),
        cmocka_unit_test(request_chunked_byte_by_byte_has_its_body),
        cmocka_unit_test(request_pipelined_come_in_order),
        cmocka_unit_test(request_target_forms_give_their_path),
        cmocka_unit_test(request_ambiguous_or_malformed_is_refused),
        cmocka_unit_test(request_with_nul_is_refused),
        cmocka_unit_test(request_harmless_oddities_are_taken),
        cmocka_unit_test(request_at_each_limit_passes_and_beyond_is_refused),
        cmocka_unit_test(request_of_tiny_chunks_needs_room_for_its_payload_only),
        cmocka_unit_test(request_with_too_many_fields_is_refused),
        cmocka_unit_test(request_keep_alive_follows_version_and_connection),
        cmocka_unit_test(request_continue_is_wanted_once_and_only_before_the_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
