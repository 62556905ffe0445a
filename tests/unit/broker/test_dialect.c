/* The wire formats, byte for byte. */
#include "dialect/dialect.h"

#include "feed_events.h"
#include "tokencast/error.h"

static struct tc_buf out;

static int after_each(void **state) {
    (void)state;
    tc_buf_fini(&out);
    return 0;
}

static void write_delta(const struct dialect *d, const char *extra) {
    struct made_event m;
    make_delta(&m, 3, " quick\n\"x\"");
    struct dialect_event in = in_dialect(&m, at(1, 4));
    in.extra = extra;
    tc_buf_reset(&out);
    assert_int_equal(d->event(&out, &in), 0);
    drop_event(&m);
}

static void dialect_native_event_has_its_id_last(void **state) {
    (void)state;
    write_delta(&dialect_native, "\"generation\":\"g\",");
    assert_bytes(tc_buf_str(&out),
                 "event: delta\ndata: {\"generation\":\"g\",\"type\":\"delta\",\"text\":\" quick\\n\\\"x\\\"\","
                 "\"offset\":3}\nid: 1-4\n\n");
}

static void dialect_ndjson_event_is_a_line(void **state) {
    (void)state;
    write_delta(&dialect_ndjson, "\"generation\":\"g\",");
    assert_bytes(tc_buf_str(&out), "{\"position\":\"1-4\",\"generation\":\"g\",\"type\":\"delta\","
                                   "\"text\":\" quick\\n\\\"x\\\"\",\"offset\":3}\n");
}

static void dialect_text_event_is_the_bare_answer(void **state) {
    (void)state;
    write_delta(&dialect_text, NULL);
    assert_bytes(tc_buf_str(&out), " quick\n\"x\"");
    static const struct tc_event others[] = {{.type = TC_EV_DELTA, .text = {"x", 1}, .kind = TC_KIND_REASONING},
                                             {.type = TC_EV_DELTA, .text = {"x", 1}, .index = 1},
                                             {.type = TC_EV_NOTE, .text = {"x", 1}},
                                             {.type = TC_EV_DONE}};
    tc_buf_reset(&out);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_int_equal(dialect_text.event(&out, &(struct dialect_event){.ev = &others[i]}), 0);
    assert_int_equal(out.len, 0);
}

static void dialect_control_frames_have_no_id(void **state) {
    (void)state;
    const struct dialect_control bye = {.type = "bye", .json = TC_STR("{\"type\":\"bye\"}"), .retry_ms = 1840};
    dialect_native.control(&out, &bye);
    dialect_native.control(&out, &(struct dialect_control){.type = "gap", .json = TC_STR("{}")});
    assert_bytes(tc_buf_str(&out), "event: bye\nretry: 1840\ndata: {\"type\":\"bye\"}\n\nevent: gap\ndata: {}\n\n");
    tc_buf_reset(&out);
    dialect_ndjson.control(&out, &bye);
    dialect_text.control(&out, &bye);
    assert_bytes(tc_buf_str(&out), "{\"type\":\"bye\"}\n");
}

static void dialect_control_that_puts_the_reader_back_has_its_id_last(void **state) {
    (void)state;
    const struct dialect_control lost = {.type = "gap", .json = TC_STR("{\"type\":\"gap\"}"), .id = TC_STR("0-0")};
    dialect_native.control(&out, &lost);
    assert_bytes(tc_buf_str(&out), "event: gap\ndata: {\"type\":\"gap\"}\nid: 0-0\n\n");
    tc_buf_reset(&out);
    dialect_ndjson.control(&out, &lost);
    dialect_text.control(&out, &lost);
    assert_bytes(tc_buf_str(&out), "{\"position\":\"0-0\",\"type\":\"gap\"}\n");
}

static void dialect_malformed_event_leaves_out_unchanged(void **state) {
    (void)state;
    const struct tc_event ev = {.type = TC_EV_DELTA, .type_name = TC_STR("delta")};
    const struct dialect_event in = {.id = TC_STR("1-2"), .ev = &ev, .raw = TC_STR("\x82\xa4type\xa4note")};
    tc_buf_puts(&out, "before");
    assert_int_equal(dialect_native.event(&out, &in), TC_ESYNTAX);
    assert_int_equal(dialect_ndjson.event(&out, &in), TC_ESYNTAX);
    assert_bytes(tc_buf_str(&out), "before");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(dialect_native_event_has_its_id_last, after_each),
        cmocka_unit_test_teardown(dialect_ndjson_event_is_a_line, after_each),
        cmocka_unit_test_teardown(dialect_text_event_is_the_bare_answer, after_each),
        cmocka_unit_test_teardown(dialect_control_frames_have_no_id, after_each),
        cmocka_unit_test_teardown(dialect_control_that_puts_the_reader_back_has_its_id_last, after_each),
        cmocka_unit_test_teardown(dialect_malformed_event_leaves_out_unchanged, after_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
