/* When the sweep looks at a log: what it may overlook at one visit it must find at the next, within --sweep in all. */
#include "feed_fixture.h"

#include <stdio.h>

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

static struct hub other; /* what is in flight is answered when Redis is closed, after the test */

#define FEEDS 40
#define PARTS 16

/* Whom the sweep has come to since: it notes that they are used. */
static unsigned count_visited(struct feed *const *feeds) {
    unsigned n = 0;
    for (unsigned i = 0; i < FEEDS; i++)
        n += feeds[i]->idle_ms == 0;
    return n;
}

static void sweep_comes_to_each_in_half_the_time_that_is_promised(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true), *feeds[FEEDS];
    struct hub_options opts = f->hub->opts;
    char id[16];
    opts.sweep_ms = 64;
    assert_int_equal(hub_init(&other, f->hub->loop, f->hub->redis, &opts), 0);
    assert_int_equal(hub_quiet_ms(&other), 32);
    assert_int_equal(uv_timer_get_repeat(&other.sweep) * PARTS, 32);
    for (unsigned i = 0; i < FEEDS; i++) {
        (void)snprintf(id, sizeof id, "g%u", i);
        assert_int_equal(feed_get(&other, id, &feeds[i]), 0);
    }
    for (unsigned round = 0; round < 2; round++) {
        for (unsigned i = 0; i < FEEDS; i++)
            feeds[i]->idle_ms = 1;
        for (unsigned ticks = 0, seen = 0; ticks < PARTS;) {
            unsigned part = other.part;
            uv_run(other.loop, UV_RUN_ONCE);
            ticks += other.part != part;
            assert_in_range(count_visited(feeds), seen, seen + FEEDS / PARTS + 1); /* never many at once */
            seen = count_visited(feeds);
        }
        assert_int_equal(count_visited(feeds), FEEDS);
    }
    hub_close(&other, NULL, NULL);
    feeds_wait(*state, is_closed, &other);
}

static void sweep_of_few_milliseconds_comes_every_millisecond(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    struct hub_options opts = f->hub->opts;
    opts.sweep_ms = 0;
    assert_int_equal(hub_init(&other, f->hub->loop, f->hub->redis, &opts), 0);
    assert_int_equal(uv_timer_get_repeat(&other.sweep), 1);
    hub_close(&other, NULL, NULL);
    feeds_wait(*state, is_closed, &other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sweep_looks_at_what_was_quiet_since_the_one_before, feeds_setup,
                                        feeds_teardown),
        cmocka_unit_test_setup_teardown(sweep_comes_to_each_in_half_the_time_that_is_promised, feeds_setup,
                                        feeds_teardown),
        cmocka_unit_test_setup_teardown(sweep_of_few_milliseconds_comes_every_millisecond, feeds_setup, feeds_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
