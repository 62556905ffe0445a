/* Query parameters and the Accept header. */
#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <tokencast/error.h>

#include <cmocka.h>

static void query_parameter_is_decoded(void **state) {
    (void)state;
    static const struct {
        const char *query, *name, *value;
    } rows[] = {
        {"after=1-2", "after", "1-2"},
        {"a=1&after=x&after=y", "after", "x"},
        {"afterwards=1&after=2", "after", "2"},
        {"after", "after", ""},
        {"after=", "after", ""},
        {"after=a=b", "after", "a=b"},
        {"a=b+c%20d%2B%41%c3%a9", "a", "b c d+A\xc3\xa9"},
        {"%61fter=1", "after", "1"},
        {"&&a=1&", "a", "1"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[32];
        int n = http_query(tc_str_from(rows[i].query), rows[i].name, out, sizeof(out));
        assert_int_equal(n, strlen(rows[i].value));
        assert_string_equal(out, rows[i].value);
    }
}

static void query_parameter_absent_is_not_found(void **state) {
    (void)state;
    char out[8] = "old";
    assert_int_equal(http_query(tc_str_from(""), "a", out, sizeof(out)), TC_ENOTFOUND);
    assert_int_equal(http_query((struct tc_str){NULL, 0}, "a", out, sizeof(out)), TC_ENOTFOUND);
    assert_int_equal(http_query(tc_str_from("b=a&=a&aa=1"), "a", out, sizeof(out)), TC_ENOTFOUND);
    assert_string_equal(out, "");
}

static void query_parameter_malformed_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"a=%", "a=%1", "a=%zz", "a=%1z", "a=x%00", "b=1&a=%g0"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char out[8] = "old";
        assert_int_equal(http_query(tc_str_from(bad[i]), "a", out, sizeof(out)), TC_ESYNTAX);
        assert_string_equal(out, "");
    }
}

static void query_parameter_fits_exactly_or_is_too_large(void **state) {
    (void)state;
    char out[4];
    assert_int_equal(http_query(tc_str_from("a=%61bc"), "a", out, sizeof(out)), 3);
    assert_string_equal(out, "abc");
    assert_int_equal(http_query(tc_str_from("a=abcd"), "a", out, sizeof(out)), TC_ETOOLARGE);
    assert_string_equal(out, "");
    assert_int_equal(http_query(tc_str_from("a="), "a", out, 0), TC_ETOOLARGE);
}

static bool accepts(const char *value, const char *second, const char *type) {
    struct http_request req = {.fields = {{TC_STR("accept"), tc_str_from(value)}, {TC_STR("x"), TC_STR("text/plain")}},
                               .field_count = 2};
    if (second)
        req.fields[req.field_count++] = (struct http_field){TC_STR("accept"), tc_str_from(second)};
    return http_accepts(&req, type);
}

static void accepts_named_type_yes_wildcard_and_zero_weight_no(void **state) {
    (void)state;
    const char *sse = "text/event-stream";
    assert_true(accepts("text/event-stream", NULL, sse));
    assert_true(accepts("application/json, Text/Event-Stream;q=0.1", NULL, sse));
    assert_true(accepts("application/json", "text/event-stream", sse));
    assert_true(accepts(" text/event-stream ; charset=utf-8 ; Q=1", NULL, sse));
    assert_true(accepts("text/event-stream;q=0.001", NULL, sse));
    assert_false(accepts("*/*", NULL, sse));
    assert_false(accepts("text/*", NULL, sse));
    assert_false(accepts("", NULL, sse));
    assert_false(accepts("text/event-streams", NULL, sse));
    assert_false(accepts("text/event-stream;q=0", NULL, sse));
    assert_false(accepts("text/event-stream; q=0.000", NULL, sse));
    assert_false(accepts("a/b;x=\", text/event-stream\"", NULL, sse));
    assert_false(accepts("a/b;x=\"\\\", text/event-stream", NULL, sse));
    assert_false(accepts("text/html", NULL, "text/plain"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(query_parameter_is_decoded),
        cmocka_unit_test(query_parameter_absent_is_not_found),
        cmocka_unit_test(query_parameter_malformed_is_refused),
        cmocka_unit_test(query_parameter_fits_exactly_or_is_too_large),
        cmocka_unit_test(accepts_named_type_yes_wildcard_and_zero_weight_no),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
