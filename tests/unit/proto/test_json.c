/* JSON text, and jansson values from and to MessagePack. */
#include "wire/json.h"

#include "tokencast/event.h"
#include "wire/mp.h"
#include "wire_support.h"

#include <math.h>

static void assert_quoted(struct tc_str s, const char *want) {
    struct tc_buf b;
    tc_buf_init(&b, 0);
    tc_json_string(&b, s);
    assert_buf(&b, want);
    tc_buf_fini(&b);
}

static void json_string_escapes_what_it_must(void **state) {
    (void)state;
    assert_quoted(TC_STR(""), "\"\"");
    assert_quoted((struct tc_str){NULL, 0}, "\"\"");
    assert_quoted(TC_STR("plain /text/ \x7f"), "\"plain /text/ \x7f\"");
    assert_quoted(TC_STR("q\" b\\ n\n r\r t\t b\b f\f"), "\"q\\\" b\\\\ n\\n r\\r t\\t b\\b f\\f\"");
    assert_quoted((struct tc_str){"\0\x1f\x0b", 3}, "\"\\u0000\\u001f\\u000b\"");
    assert_quoted(TC_STR("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    assert_quoted(TC_STR("a\xe2\x80\xa8"
                         "b\xe2\x80\xa9"
                         "c"),
                  "\"a\\u2028b\\u2029c\"");
    assert_quoted(TC_STR("a\xff"
                         "b\xc3"),
                  "\"a\xef\xbf\xbd"
                  "b\xef\xbf\xbd\"");
}

static void json_string_of_any_bytes_is_one_line_that_parses(void **state) {
    struct tc_buf b;
    char bytes[2];
    (void)state;
    tc_buf_init(&b, 0);
    for (unsigned i = 0; i < 65536; i++) {
        bytes[0] = (char)(i >> 8);
        bytes[1] = (char)i;
        tc_buf_reset(&b);
        tc_json_string(&b, (struct tc_str){bytes, 2});
        assert_true(memchr(b.data, '\n', b.len) == NULL && memchr(b.data, '\r', b.len) == NULL);
        json_t *back = json_loadb(b.data, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(back);
        json_decref(back);
    }
    tc_buf_fini(&b);
}

static void json_double_is_short_and_never_a_name(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_json_double(&b, 0.1);
    tc_buf_putc(&b, ' ');
    tc_json_double(&b, 5.0);
    tc_buf_putc(&b, ' ');
    tc_json_double(&b, (double)NAN);
    tc_buf_putc(&b, ' ');
    tc_json_double(&b, -(double)INFINITY);
    assert_buf(&b, "0.1 5 null null");
    tc_buf_fini(&b);
}

static void jansson_round_trip_is_equal(void **state) {
    static const char text[] =
        "{\"a\":[1,-2,2.5,true,false,null,\"x\\u0000y\"],\"b\":{\"c\":{}},\"big\":9007199254740993}";
    struct tc_buf b;
    (void)state;
    json_t *value = json_loads(text, JSON_ALLOW_NUL, NULL), *back;
    assert_non_null(value);
    tc_buf_init(&b, 0);
    tc_json_to_mp(&b, value);
    assert_true(tc_buf_ok(&b));
    back = tc_mp_to_jansson(tc_buf_str(&b));
    assert_non_null(back);
    assert_true(json_equal(value, back));
    json_decref(back);
    json_decref(value);
    tc_buf_fini(&b);
}

static void jansson_deeper_than_an_event_becomes_nil(void **state) {
    struct tc_buf b;
    json_t *value = json_integer(1);
    (void)state;
    for (int i = 0; i < 1000; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, value);
        value = outer;
    }
    tc_buf_init(&b, 0);
    tc_json_to_mp(&b, value);
    struct tc_mp m = {(const unsigned char *)b.data, (const unsigned char *)b.data + b.len};
    assert_int_equal(tc_mp_skip(&m, TC_EVENT_MAX_DEPTH - 1), 0);
    assert_true(m.p == m.end);
    assert_int_equal(b.len, TC_EVENT_MAX_DEPTH);
    json_decref(value);
    tc_buf_fini(&b);
}

static void jansson_of_malformed_bytes_is_null(void **state) {
    (void)state;
    assert_null(tc_mp_to_jansson(TC_STR("")));
    assert_null(tc_mp_to_jansson(TC_STR("\x91")));
    assert_null(tc_mp_to_jansson(TC_STR("\xc1")));
    assert_null(tc_mp_to_jansson(TC_STR("\xc0\xc0")));
    assert_null(tc_mp_to_jansson(TC_STR("\xcf\xff\xff\xff\xff\xff\xff\xff\xff")));
    assert_null(tc_mp_to_jansson((struct tc_str){"\x81\xa1\0\xc0", 4}));
    assert_null(tc_mp_to_jansson(TC_STR("\xa1\xff")));
}

static void jansson_of_too_many_values_is_null(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    for (uint32_t n = 99999; n <= 100000; n++) {
        tc_buf_reset(&b);
        tc_buf_append(&b, (const char[]){'\xdd', 0, (char)(n >> 16), (char)(n >> 8), (char)n}, 5);
        for (uint32_t i = 0; i < n; i++)
            tc_buf_putc(&b, '\xc0');
        json_t *value = tc_mp_to_jansson(tc_buf_str(&b));
        assert_int_equal(value != NULL, n == 99999);
        json_decref(value);
    }
    tc_buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_string_escapes_what_it_must),
        cmocka_unit_test(json_string_of_any_bytes_is_one_line_that_parses),
        cmocka_unit_test(json_double_is_short_and_never_a_name),
        cmocka_unit_test(jansson_round_trip_is_equal),
        cmocka_unit_test(jansson_deeper_than_an_event_becomes_nil),
        cmocka_unit_test(jansson_of_malformed_bytes_is_null),
        cmocka_unit_test(jansson_of_too_many_values_is_null),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
