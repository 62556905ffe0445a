/* The parameters of a stream request. */
#include "api/params.h"

#include "feed_events.h"
#include "tokencast/error.h"

static struct params p;

static int parse(const char *query, const char *accept, const char *last_id) {
    struct http_request req = {.query = tc_str_from(query)};
    const char *why = NULL;
    if (accept != NULL)
        req.fields[req.field_count++] = (struct http_field){TC_STR("accept"), tc_str_from(accept)};
    if (last_id != NULL)
        req.fields[req.field_count++] = (struct http_field){TC_STR("last-event-id"), tc_str_from(last_id)};
    int err = params_parse(&p, &req, false, &why);
    assert_true(err == 0 || why != NULL);
    return err;
}

static void params_defaults_are_native_and_drop(void **state) {
    (void)state;
    assert_int_equal(parse("", NULL, NULL), 0);
    assert_ptr_equal(p.key.dialect, &dialect_native);
    assert_int_equal(p.key.include, INCLUDE_ALL);
    assert_int_equal(p.key.pace, PACE_TOKEN);
    assert_int_equal(p.policy, SUB_DROP);
    assert_true(p.key.chunked);
    assert_false(p.has_after || p.after_now || p.has_until);
    assert_int_equal(p.wait_ms, -1);
}

static void params_accept_chooses_the_form(void **state) {
    (void)state;
    assert_int_equal(parse("", "application/x-ndjson", NULL), 0);
    assert_ptr_equal(p.key.dialect, &dialect_ndjson);
    assert_int_equal(parse("", "text/plain", NULL), 0);
    assert_ptr_equal(p.key.dialect, &dialect_text);
    assert_int_equal(p.policy, SUB_MERGE);
    assert_int_equal(parse("overflow=drop", "text/plain", NULL), TC_ESYNTAX);
    assert_int_equal(parse("", "text/plain, text/event-stream", NULL), 0);
    assert_ptr_equal(p.key.dialect, &dialect_native);
}

static void params_named_values_are_read(void **state) {
    (void)state;
    assert_int_equal(parse("include=text,tools&pace=line&overflow=close&after=3-4&until=3-9", NULL, NULL), 0);
    assert_int_equal(p.key.include, INCLUDE_TEXT | INCLUDE_TOOLS);
    assert_int_equal(p.key.pace, PACE_LINE);
    assert_int_equal(p.policy, SUB_CLOSE);
    assert_int_equal(p.after.seq, 4);
    assert_int_equal(p.until.seq, 9);
    assert_true(p.has_after && p.has_until);
    assert_int_equal(parse("wait=250", "application/json", NULL), 0);
    assert_int_equal(p.wait_ms, 250);
    assert_int_equal(parse("after=now", NULL, NULL), 0);
    assert_true(p.after_now && !p.has_after);
}

static void params_last_event_id_wins_over_after(void **state) {
    (void)state;
    assert_int_equal(parse("after=1-2", NULL, "1-7"), 0);
    assert_int_equal(p.after.seq, 7);
}

static void params_malformed_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"include=x", "include=text,,tools",
                                      "pace=byte", "overflow=x",
                                      "after=",    "after=1",
                                      "after=1-x", "until=",
                                      "until=9",   "wait=",
                                      "wait=-1",   "wait=1s",
                                      "after=%zz", "pace=",
                                      "after=01-2"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse(bad[i], "application/json", NULL), TC_ESYNTAX);
    assert_int_equal(parse("", NULL, "x"), TC_ESYNTAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(params_defaults_are_native_and_drop), cmocka_unit_test(params_accept_chooses_the_form),
        cmocka_unit_test(params_named_values_are_read),        cmocka_unit_test(params_last_event_id_wins_over_after),
        cmocka_unit_test(params_malformed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
