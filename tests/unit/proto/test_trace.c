/* Trace context from foreign bytes: what is taken, what is left out, and what becomes of it. */
#include "wire/trace.h"

#include "wire_support.h"

#define ID   "4bf92f3577b34da6a3ce929d0e0e4736"
#define SPAN "00f067aa0ba902b7"
#define GOOD "00-" ID "-" SPAN "-01"

static struct tc_trace t;

static const char *parent(const char *text) {
    tc_trace_take(&t, tc_str_from(text), TC_STR(""));
    return t.parent;
}

static const char *state_of(const char *text) {
    tc_trace_take(&t, TC_STR(GOOD), tc_str_from(text));
    assert_string_equal(t.parent, GOOD); /* whatever the state is */
    return t.state;
}

static void trace_well_formed_parent_is_taken_as_it_is(void **state) {
    static const char *const all[] = {GOOD, "00-" ID "-" SPAN "-00", "00-" ID "-" SPAN "-ff", "00-" ID "-" SPAN "-02",
                                      "00-00000000000000000000000000000001-0000000000000001-00"};
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_string_equal(parent(all[i]), all[i]);
}

static void trace_malformed_parent_counts_as_none(void **state) {
    static const char *const bad[] = {
        "",
        "00",
        "00-" ID "-" SPAN,
        "00-" ID "-" SPAN "-",
        "00-" ID "-" SPAN "-1",
        "00-" ID "-" SPAN "-01-",  /* version 00 ends behind its flags */
        "00-" ID "-" SPAN "-01-x", /* the same */
        "00-" ID "-" SPAN "-011",
        " " GOOD,
        GOOD " ",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-" SPAN "-01", /* capitals */
        "00-" ID "-00F067AA0BA902B7-01",
        "00-" ID "-" SPAN "-0A",
        "0A-" ID "-" SPAN "-01",
        "00-" ID "-" SPAN "-0g",
        "00-00000000000000000000000000000000-" SPAN "-01", /* ids that mean nothing */
        "00-" ID "-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473-" SPAN "-01",
        "00-" ID "x" SPAN "-01",
        "00_" ID "-" SPAN "-01",
        "00-" ID "-" SPAN "_01",
        "ff-" ID "-" SPAN "-01", /* no version at all */
        "ff-" ID "-" SPAN "-01-more",
        "01-" ID "-" SPAN "-01x",
        "01-" ID "-" SPAN "-011",
        "1-" ID "-" SPAN "-01",
        "traceparent: " GOOD,
        "00-" ID "-" SPAN "-\xc3\xa4",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_string_equal(parent(bad[i]), "");
}

static void trace_parent_cut_anywhere_counts_as_none(void **state) {
    (void)state;
    for (size_t n = 0; n < sizeof(GOOD) - 1; n++) {
        tc_trace_take(&t, (struct tc_str){GOOD, n}, TC_STR("a=1"));
        assert_string_equal(t.parent, "");
        assert_string_equal(t.state, "");
    }
}

static void trace_parent_of_a_later_version_is_taken_by_its_first_fields(void **state) {
    (void)state;
    assert_string_equal(parent("01-" ID "-" SPAN "-01"), GOOD);
    assert_string_equal(parent("cc-" ID "-" SPAN "-01-what-the-future-will-be-like"), GOOD);
    assert_string_equal(parent("fe-" ID "-" SPAN "-01-"), GOOD);
    assert_string_equal(parent("01-" ID "-" SPAN "-ff-x"), GOOD); /* of its flags only the sampled one is known */
    assert_string_equal(parent("01-" ID "-" SPAN "-0a-x"), "00-" ID "-" SPAN "-00");
}

static void trace_well_formed_state_is_taken_as_it_is(void **state) {
    static const char *const all[] = {
        "a=1",
        "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",
        "a=1 , b=2,\tc=3",
        "a=1,,b=2,", /* members may be empty */
        "fw529a3039@dt=FfD2,0tenant@sys/x-y_z*=v",
        "a= inner and leading blanks are of the value",
        "a=!\"#$%&'()*+-./:;<>?@[\\]^_`{|}~",
        "a=1,a=2", /* whose it is sees to that */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        assert_string_equal(state_of(all[i]), all[i]);
}

static void trace_malformed_state_is_left_out_whole(void **state) {
    static const char *const bad[] = {
        "",
        " ",
        ",",
        "a",
        "a=",
        "a=\t",
        "=1",
        "A=1",
        "a b=1",
        "a =1",
        "@x=1",
        "-a=1",
        "a=1=2",
        "a=\xc3\xa4",
        "a=x\ny",
        "a=1;b=2=",
        "\xc3\xa4=1",
        "a=1,b",
        "a=1\r\nX: y=1",
        "a=1,b=\x7f",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_string_equal(state_of(bad[i]), "");
    tc_trace_take(&t, TC_STR(GOOD), (struct tc_str){"a=\0", 3});
    assert_string_equal(t.state, "");
    tc_trace_take(&t, TC_STR(GOOD), (struct tc_str){"a\0=1", 4});
    assert_string_equal(t.state, "");
}

/* `n` members of `each` bytes with their commas. */
static struct tc_str members(struct tc_buf *b, unsigned n, unsigned each) {
    tc_buf_reset(b);
    for (unsigned i = 0; i < n; i++) {
        tc_buf_puts(b, i ? ",k=" : "k=");
        for (unsigned at = i ? 3 : 2; at < each; at++)
            tc_buf_putc(b, 'v');
    }
    return tc_buf_str(b);
}

static void trace_state_is_bounded(void **state) {
    struct tc_buf b = {0};
    (void)state;
    tc_trace_take(&t, TC_STR(GOOD), members(&b, 32, 16));
    assert_int_equal(strlen(t.state), TC_TRACESTATE_MAX);
    tc_buf_puts(&b, "x"); /* 513 bytes */
    tc_trace_take(&t, TC_STR(GOOD), tc_buf_str(&b));
    assert_string_equal(t.state, "");
    tc_trace_take(&t, TC_STR(GOOD), members(&b, 33, 8));
    assert_string_equal(t.state, "");
    tc_trace_take(&t, TC_STR(GOOD), members(&b, 1, 2 + 256));
    assert_int_equal(strlen(t.state), 2 + 256);
    tc_trace_take(&t, TC_STR(GOOD), members(&b, 1, 2 + 257));
    assert_string_equal(t.state, "");
    tc_buf_fini(&b);
}

static void trace_state_goes_with_its_parent(void **state) {
    (void)state;
    tc_trace_take(&t, TC_STR(GOOD), TC_STR("a=1"));
    tc_trace_take(&t, TC_STR("nonsense"), TC_STR("a=1"));
    assert_string_equal(t.parent, "");
    assert_string_equal(t.state, "");
}

static void trace_as_headers_is_a_line_each(void **state) {
    struct tc_buf b = {0};
    (void)state;
    tc_trace_take(&t, TC_STR(""), TC_STR("a=1"));
    tc_trace_put_headers(&t, &b);
    assert_buf(&b, "");
    tc_trace_take(&t, TC_STR(GOOD), TC_STR(""));
    tc_trace_put_headers(&t, &b);
    assert_buf(&b, "traceparent: " GOOD "\n");
    tc_buf_reset(&b);
    tc_trace_take(&t, TC_STR(GOOD), TC_STR("a=1"));
    tc_trace_put_headers(&t, &b);
    assert_buf(&b, "traceparent: " GOOD "\ntracestate: a=1\n");
    tc_buf_fini(&b);
}

static void trace_in_a_log_line_is_its_ids_or_nothing(void **state) {
    (void)state;
    (void)parent(GOOD);
    const struct tc_log_field with[] = {TC_LI("n", 1), TC_LTRACE(&t), {0}};
    assert_string_equal(with[1].key, "trace_id");
    assert_str(with[1].s, ID);
    assert_string_equal(with[2].key, "span_id");
    assert_str(with[2].s, SPAN);
    assert_int_equal(tc_trace_log_level(&t), TC_LOG_INFO);
    (void)parent("");
    const struct tc_log_field without[] = {TC_LI("n", 1), TC_LTRACE(&t), {0}};
    assert_int_equal(without[1].kind, TC_LOG_END);
    assert_int_equal(without[2].kind, TC_LOG_END);
    assert_int_equal(tc_trace_log_level(&t), TC_LOG_DEBUG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trace_well_formed_parent_is_taken_as_it_is),
        cmocka_unit_test(trace_malformed_parent_counts_as_none),
        cmocka_unit_test(trace_parent_cut_anywhere_counts_as_none),
        cmocka_unit_test(trace_parent_of_a_later_version_is_taken_by_its_first_fields),
        cmocka_unit_test(trace_well_formed_state_is_taken_as_it_is),
        cmocka_unit_test(trace_malformed_state_is_left_out_whole),
        cmocka_unit_test(trace_state_is_bounded),
        cmocka_unit_test(trace_state_goes_with_its_parent),
        cmocka_unit_test(trace_as_headers_is_a_line_each),
        cmocka_unit_test(trace_in_a_log_line_is_its_ids_or_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
