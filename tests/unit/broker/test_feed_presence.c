/* Who watches, on several brokers of which one dies. */
#include "feed/presence.h"

#include "feed_fixture.h"

#include <limits.h>

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
    for (int i = 0; i < 120 && viewers() != 1; i++) {
        report(f, true);
        feeds_pass(world, FEED_LEASE_MS / 12);
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

/* When the only lease ends, in milliseconds by Redis's clock. */
static long long lease_end(void) {
    return feeds_do(world, "EVAL %s 1 tc:{g}:viewers",
                    "return tonumber(redis.call('ZRANGE',KEYS[1],0,0,'WITHSCORES')[2] or 0)");
}

/* A machine that stands still may make one renewal late, but not all of them. */
static void presence_is_renewed_while_somebody_watches(void **state) {
    world = *state;
    struct feed *a = feeds_open(world, 0, "g", true);
    report(a, true);
    await_viewers(1);
    long long end = lease_end(), soonest = LLONG_MAX;
    for (int renewals = 0; renewals < 4; renewals++) {
        long long before = end;
        for (int i = 0; i < 120 && end == before; i++) {
            report(a, true);
            feeds_pass(world, FEED_LEASE_MS / 12);
            end = lease_end();
        }
        assert_true(end > before);
        soonest = end - before < soonest ? end - before : soonest;
    }
    assert_in_range(soonest, 1, FEED_LEASE_MS - 1);
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
