/* When the sweep looks at a log: what it may overlook at one visit it must find at the next, within --sweep in all. */
#include "feed_fixture.h"

static bool is_read(void *arg) {
    return !((struct feed *)arg)->reading;
}

static bool is_closed(void *arg) {
    return ((struct hub *)arg)->handles == 0;
}

static void sweep_looks_at_what_was_quiet_since_the_one_before(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    struct hub *h = f->hub;
    feeds_wait(*state, is_read, f);
    h->opts.sweep_ms = 1000;
    uint64_t now = hub_now_ms(h) + 1000;
    f->quiet_ms = f->event_ms = now; /* an event, right before a sweep; the next is not announced */
    feed_sweep(f, now + 1);
    assert_false(f->reading);
    feed_sweep(f, now + 1 + hub_quiet_ms(h));
    assert_true(f->reading);
    feeds_wait(*state, is_read, f);
}

static void sweep_comes_twice_in_the_time_that_is_promised(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    struct hub other = {0};
    struct hub_options opts = f->hub->opts;
    opts.sweep_ms = 1000;
    assert_int_equal(hub_init(&other, f->hub->loop, f->hub->redis, &opts), 0);
    assert_int_equal(uv_timer_get_repeat(&other.sweep), 500);
    assert_int_equal(hub_quiet_ms(&other), 500);
    hub_close(&other, NULL, NULL);
    feeds_wait(*state, is_closed, &other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sweep_looks_at_what_was_quiet_since_the_one_before, feeds_setup,
                                        feeds_teardown),
        cmocka_unit_test_setup_teardown(sweep_comes_twice_in_the_time_that_is_promised, feeds_setup, feeds_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
