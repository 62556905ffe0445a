/* The trace that a log carries: given by who makes it, found by every attempt. */
#include "publish_pen.h"

#include "base/log.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct publish_rig rig;

static int setup(void **state) {
    (void)state;
    publish_rig_init(&rig);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    publish_rig_fini(&rig);
    return 0;
}

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
#define OTHER  "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

static void open_created(struct pen *p, const char *traceparent) {
    pen_start(p, &rig, NULL, true);
    assert_int_equal(tc_writer_set_traceparent(p->w, traceparent), 0);
    publish_rig_until(&rig, &p->opened);
    assert_int_equal(p->open_err, 0);
}

static void writer_that_creates_puts_the_trace_into_the_log(void **state) {
    struct pen p;
    (void)state;
    open_created(&p, PARENT);
    assert_int_equal(tc_writer_set_traceparent(p.w, PARENT), TC_ESTATE);
    assert_string_equal(tc_writer_traceparent(p.w), PARENT);
    pen_close(&p);
    pen_open(&p, &rig); /* another attempt finds it there */
    assert_string_equal(tc_writer_traceparent(p.w), PARENT);
    pen_close(&p);
}

static void writer_whose_log_exists_keeps_the_first_trace(void **state) {
    struct pen p;
    (void)state;
    open_created(&p, PARENT);
    pen_close(&p);
    open_created(&p, OTHER);
    assert_string_equal(tc_writer_traceparent(p.w), PARENT);
    pen_close(&p);
}

static void writer_takes_no_malformed_trace(void **state) {
    struct pen p;
    (void)state;
    publish_rig_do(&rig, "XADD " PEN_LOG " 0-1 e %b",
                   "\x82\xa4type\xa7"
                   "created\xabtraceparent\xa9"
                   "00-\r\nX: y",
                   (size_t)36);
    pen_start(&p, &rig, NULL, true);
    assert_int_equal(tc_writer_set_traceparent(p.w, "00-x"), TC_EINVAL);
    assert_int_equal(tc_writer_set_traceparent(p.w, NULL), TC_EINVAL);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(p.open_err, 0);
    assert_string_equal(tc_writer_traceparent(p.w), "");
    pen_close(&p);
}

static void writer_of_a_log_that_must_exist_sets_no_trace(void **state) {
    struct pen p;
    (void)state;
    pen_start(&p, &rig, NULL, false);
    assert_int_equal(tc_writer_set_traceparent(p.w, PARENT), TC_ESTATE);
    pen_close(&p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(writer_that_creates_puts_the_trace_into_the_log),
        T(writer_whose_log_exists_keeps_the_first_trace),
        T(writer_takes_no_malformed_trace),
        T(writer_of_a_log_that_must_exist_sets_no_trace),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
