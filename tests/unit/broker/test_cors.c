/* Cross-origin rules: closed unless an origin is listed. */
#include "access/cors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <tokencast/error.h>

#include <cmocka.h>

static struct http_request request(enum http_method method, const char *origin) {
    struct http_request req = {.method = method};
    if (origin)
        req.fields[req.field_count++] = (struct http_field){TC_STR("origin"), tc_str_from(origin)};
    return req;
}

static bool has(const struct tc_buf *b, const char *text) {
    size_t m = strlen(text);
    for (size_t i = 0; m <= b->len && i <= b->len - m; i++)
        if (memcmp(b->data + i, text, m) == 0)
            return true;
    return false;
}

static void cors_list_of_origins_is_parsed(void **state) {
    (void)state;
    struct cors c;
    assert_int_equal(cors_parse(&c, NULL), 0);
    assert_int_equal(c.count, 0);
    assert_false(c.any);
    assert_int_equal(
        cors_parse(&c, "https://a.example , http://localhost:3000,capacitor://localhost,http://[::1]:8080"), 0);
    assert_int_equal(c.count, 4);
    assert_true(tc_str_is(c.origins[1], "http://localhost:3000"));
    assert_int_equal(cors_parse(&c, "*"), 0);
    assert_true(c.any);
}

static void cors_entry_that_is_no_origin_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"a.example",
                                      "https://a.example/",
                                      "https://a.example/x",
                                      "https://",
                                      "://a",
                                      "https://a:",
                                      "https://a:b",
                                      "https://a:123456",
                                      "https://a,,https://b",
                                      "https://a b",
                                      "null",
                                      "https://*.example",
                                      "https://u@a",
                                      "http://[::1",
                                      "http://[]",
                                      "https://a\r\nX: y",
                                      ","};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct cors c;
        if (cors_parse(&c, bad[i]) != TC_ESYNTAX)
            fail_msg("taken: %s", bad[i]);
    }
}

static void cors_list_longer_than_the_bound_is_refused(void **state) {
    (void)state;
    struct cors c;
    struct tc_buf list;
    tc_buf_init(&list, 0);
    for (int i = 0; i <= CORS_MAX_ORIGINS; i++)
        tc_buf_puts(&list, i ? ",https://a.b" : "https://a.b");
    char *whole = tc_buf_take_cstr(&list);
    assert_non_null(whole);
    assert_int_equal(cors_parse(&c, whole), TC_ETOOLARGE);
    free(whole);
}

static void cors_headers_only_for_allowed_origins(void **state) {
    (void)state;
    struct cors c;
    struct tc_buf b;
    tc_buf_init(&b, 0);
    assert_int_equal(cors_parse(&c, "https://a.example"), 0);
    struct http_request other = request(HTTP_M_GET, "https://b.example"), none = request(HTTP_M_GET, NULL);
    cors_headers(&c, &other, &b);
    cors_headers(&c, &none, &b);
    assert_int_equal(b.len, 0);
    struct http_request req = request(HTTP_M_GET, "https://A.example");
    cors_headers(&c, &req, &b);
    assert_true(has(&b, "Access-Control-Allow-Origin: https://A.example\r\n"));
    assert_true(has(&b, "Vary: Origin\r\n"));
    assert_true(has(&b, "Access-Control-Expose-Headers: "));
    assert_false(has(&b, "Credentials"));
    tc_buf_reset(&b);
    assert_int_equal(cors_parse(&c, NULL), 0);
    cors_headers(&c, &req, &b);
    assert_int_equal(b.len, 0);
    assert_int_equal(cors_parse(&c, "*"), 0);
    cors_headers(&c, &req, &b);
    assert_true(has(&b, "Access-Control-Allow-Origin: *\r\n"));
    tc_buf_fini(&b);
}

/* http_extra_headers() takes 512 bytes. */
static void cors_headers_of_the_longest_origin_fit(void **state) {
    (void)state;
    struct cors c;
    struct tc_buf b;
    char origin[257] = "https://";
    memset(origin + 8, 'a', 248);
    origin[256] = '\0';
    tc_buf_init(&b, 0);
    assert_int_equal(cors_parse(&c, origin), 0);
    struct http_request req = request(HTTP_M_GET, origin);
    cors_headers(&c, &req, &b);
    assert_true(b.len > 256 && b.len <= 512);
    tc_buf_fini(&b);
}

static void cors_preflight_is_answered_for_allowed_origins(void **state) {
    (void)state;
    struct cors c;
    struct tc_buf b;
    tc_buf_init(&b, 0);
    assert_int_equal(cors_parse(&c, "https://a.example"), 0);
    struct http_request req = request(HTTP_M_OPTIONS, "https://a.example");
    assert_false(cors_preflight(&c, &req, &b)); /* a plain OPTIONS */
    req.fields[req.field_count++] = (struct http_field){TC_STR("access-control-request-method"), TC_STR("POST")};
    assert_true(cors_preflight(&c, &req, &b));
    assert_true(has(&b, "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE\r\n"));
    assert_true(has(&b, "Access-Control-Max-Age: "));
    assert_false(has(&b, "Access-Control-Allow-Headers"));
    tc_buf_reset(&b);
    req.fields[req.field_count++] =
        (struct http_field){TC_STR("access-control-request-headers"), TC_STR("authorization, x-stainless-os")};
    assert_true(cors_preflight(&c, &req, &b));
    assert_true(has(&b, "Access-Control-Allow-Headers: authorization, x-stainless-os\r\n"));
    tc_buf_reset(&b);
    req.fields[2].value = TC_STR("a\"b: <c>");
    assert_true(cors_preflight(&c, &req, &b));
    assert_false(has(&b, "Access-Control-Allow-Headers"));
    tc_buf_reset(&b);
    req.fields[0].value = TC_STR("https://b.example");
    assert_false(cors_preflight(&c, &req, &b));
    req.fields[0].value = TC_STR("https://a.example");
    req.method = HTTP_M_GET;
    assert_false(cors_preflight(&c, &req, &b));
    assert_int_equal(b.len, 0);
    tc_buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cors_list_of_origins_is_parsed),
        cmocka_unit_test(cors_entry_that_is_no_origin_is_refused),
        cmocka_unit_test(cors_list_longer_than_the_bound_is_refused),
        cmocka_unit_test(cors_headers_only_for_allowed_origins),
        cmocka_unit_test(cors_headers_of_the_longest_origin_fit),
        cmocka_unit_test(cors_preflight_is_answered_for_allowed_origins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
