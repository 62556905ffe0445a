/* The trace headers of a request: one parent, any number of states. */
#include "api/trace.h"

#include "feed_events.h"

#define GOOD  "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define OTHER "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

static struct http_request req;
static struct tc_trace t;

static void header(const char *name, const char *value) {
    req.fields[req.field_count++] = (struct http_field){tc_str_from(name), tc_str_from(value)};
}

static int before_each(void **state) {
    (void)state;
    req = (struct http_request){.method = HTTP_M_POST};
    header("host", "x");
    memset(&t, 'x', sizeof t);
    return 0;
}

static void trace_absent_is_none(void **state) {
    (void)state;
    trace_take(&t, &req);
    assert_string_equal(t.parent, "");
    assert_string_equal(t.state, "");
}

static void trace_of_one_parent_is_taken(void **state) {
    (void)state;
    header("traceparent", GOOD);
    header("tracestate", "a=1");
    trace_take(&t, &req);
    assert_string_equal(t.parent, GOOD);
    assert_string_equal(t.state, "a=1");
}

static void trace_of_two_parents_is_none(void **state) {
    (void)state;
    header("traceparent", GOOD);
    header("tracestate", "a=1");
    header("traceparent", OTHER);
    trace_take(&t, &req);
    assert_string_equal(t.parent, "");
    assert_string_equal(t.state, "");
}

static void trace_states_are_joined_in_order(void **state) {
    (void)state;
    header("tracestate", "a=1,b=2");
    header("traceparent", GOOD);
    header("tracestate", "");
    header("tracestate", "c=3");
    trace_take(&t, &req);
    assert_string_equal(t.state, "a=1,b=2,c=3");
}

static void trace_states_too_long_together_are_left_out(void **state) {
    static char half[256];
    (void)state;
    memset(half, 'v', sizeof half - 1);
    memcpy(half, "k=", 2);
    header("traceparent", GOOD);
    header("tracestate", half);
    header("tracestate", half); /* 255 + 1 + 255 */
    trace_take(&t, &req);
    assert_int_equal(strlen(t.state), 511);
    header("tracestate", "x=1");
    trace_take(&t, &req);
    assert_string_equal(t.parent, GOOD);
    assert_string_equal(t.state, "");
}

#define T(name) cmocka_unit_test_setup(name, before_each)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(trace_absent_is_none),
        T(trace_of_one_parent_is_taken),
        T(trace_of_two_parents_is_none),
        T(trace_states_are_joined_in_order),
        T(trace_states_too_long_together_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
