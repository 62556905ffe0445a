/* Who watches, on several brokers of which one dies. */
#include "feed/presence.h"

#include "feed_fixture.h"

static struct feeds *world;

/* As a worker counts: by Redis's clock. */
static long long viewers(void) {
    return feeds_do(
        world, "EVAL %s 1 tc:{g}:viewers",
        "local t=redis.call('TIME') return redis.call('ZCOUNT',KEYS[1],t[1]*1000+math.floor(t[2]/1000),'+inf')");
}

static bool counts(void *arg) {
    return viewers() == *(const long long *)arg;
}

static void await_viewers(long long n) {
    feeds_wait(world, counts, &n);
}

static void report(struct feed *f, bool watched) {
    uint64_t now = hub_now_ms(f->hub);
    f->room_ms = watched ? now : 0;
    presence_report(f, now);
}

/* Passes time in which only `f` is watched, until one lease is left. */
static void await_only(struct feed *f) {
    for (int i = 0; i < 40 && viewers() != 1; i++) {
        report(f, true);
        feeds_pass(world, FEED_LEASE_MS / 4);
    }
    assert_int_equal(viewers(), 1);
}

static void presence_of_those_who_leave_ends_with_their_lease_and_not_before(void **state) {
    world = *state;
    struct feed *a = feeds_open(world, 0, "g", true), *b = feeds_open(world, 1, "g", true);
    assert_true(a->abandonable);
    report(a, true);
    report(b, true);
    await_viewers(2);
    report(a, false);
    assert_int_equal(viewers(), 2); /* a visit between two looks counts */
    await_only(b);
    report(b, false);
    assert_int_equal(viewers(), 1);
    await_viewers(0);
}

static void presence_of_a_broker_that_died_ends_with_its_lease(void **state) {
    world = *state;
    struct feed *a = feeds_open(world, 0, "g", true), *b = feeds_open(world, 1, "g", true);
    report(a, true);
    report(b, true);
    await_viewers(2);
    feeds_end_broker(world, 0);
    await_only(b);
    assert_int_equal(feeds_do(world, "ZCARD tc:{g}:viewers"), 2); /* by its score, nobody took it out */
}

static void presence_is_renewed_while_somebody_watches(void **state) {
    world = *state;
    struct feed *a = feeds_open(world, 0, "g", true);
    for (int i = 0; i < 8; i++) {
        report(a, true);
        feeds_pass(world, FEED_LEASE_MS / 4);
        assert_int_equal(viewers(), 1);
    }
    assert_true(feeds_do(world, "PTTL tc:{g}:viewers") > 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, feeds_setup, feeds_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(presence_of_those_who_leave_ends_with_their_lease_and_not_before),
        T(presence_of_a_broker_that_died_ends_with_its_lease),
        T(presence_is_renewed_while_somebody_watches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
