/* The body of POST /v1/generations: what is taken, what is refused, and what travels on. */
#include "api/start_request.h"

#include "feed_events.h"
#include "tokencast/error.h"

static struct start_request r;
static const char *why;

static int parse(const char *body) {
    start_request_fini(&r);
    return start_request_parse(&r, tc_str_from(body), &why);
}

static int after_each(void **state) {
    (void)state;
    start_request_fini(&r);
    return 0;
}

static void start_request_defaults_are_to_continue(void **state) {
    (void)state;
    assert_int_equal(parse("{\"prompt\":\"hi\"}"), 0);
    assert_string_equal(r.id, "");
    assert_string_equal(r.channel, "");
    assert_string_equal(r.model, "");
    assert_string_equal(r.on_crash, "continue");
    assert_int_equal(r.on_abandon_ms, -1);
    assert_bytes(tc_buf_str(&r.request), "{\"prompt\":\"hi\"}");
}

static void start_request_ours_does_not_travel_on(void **state) {
    (void)state;
    assert_int_equal(parse("{\"id\":\"g-1\",\"channel\":\"room\",\"model\":\"m\",\"messages\":[{\"x\":1}],"
                           "\"on_crash\":\"fail\",\"on_abandon\":{\"cancel_after_ms\":0},\"options\":{\"n\":1}}"),
                     0);
    assert_string_equal(r.id, "g-1");
    assert_string_equal(r.channel, "room");
    assert_string_equal(r.model, "m");
    assert_string_equal(r.on_crash, "fail");
    assert_int_equal(r.on_abandon_ms, 0);
    assert_bytes(tc_buf_str(&r.request), "{\"model\":\"m\",\"messages\":[{\"x\":1}],\"options\":{\"n\":1}}");
}

static void start_request_malformed_is_refused_with_a_reason(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "3",
        "{}",
        "{\"prompt\":1}",
        "{\"prompt\":\"a\",\"prompt\":\"b\"}",
        "{\"messages\":[]}",
        "{\"messages\":[1]}",
        "{\"messages\":[{}],\"prompt\":\"a\"}",
        "{\"prompt\":\"a\",\"options\":[]}",
        "{\"prompt\":\"a\",\"id\":\"a b\"}",
        "{\"prompt\":\"a\",\"id\":1}",
        "{\"prompt\":\"a\",\"id\":\"a\\u0000b\"}",
        "{\"prompt\":\"a\",\"id\":\"01234567890123456789012345678901234567890123456789012345678901234\"}",
        "{\"prompt\":\"a\",\"channel\":\"{x}\"}",
        "{\"prompt\":\"a\",\"on_crash\":\"retry\"}",
        "{\"prompt\":\"a\",\"on_abandon\":\"cancel\"}",
        "{\"prompt\":\"a\",\"on_abandon\":{\"cancel_after_ms\":-1}}",
        "{\"prompt\":\"a\",\"on_abandon\":{\"cancel_after_ms\":86400001}}",
        "{\"prompt\":\"a\",\"on_abandon\":{\"cancel_after_ms\":1.5}}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        why = NULL;
        assert_int_equal(parse(bad[i]), TC_EINVAL);
        assert_non_null(why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(start_request_defaults_are_to_continue, after_each),
        cmocka_unit_test_teardown(start_request_ours_does_not_travel_on, after_each),
        cmocka_unit_test_teardown(start_request_malformed_is_refused_with_a_reason, after_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
