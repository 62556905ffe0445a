/* Whether somebody works on a generation, as its job and its log tell. */
#include "feed/liveness.h"

#include "feed/queue.h"
#include "feed_fixture.h"

#include <string.h>

static bool has_looked(void *arg) {
    return !((struct feed *)arg)->looking;
}

/* One look, as after a quiet lease: what the queue's look saw is as old. */
static void look(struct feeds *w, struct feed *f) {
    uint64_t now = hub_now_ms(f->hub);
    queue_forget(f->hub);
    f->event_ms = now > 2 * FEED_LEASE_MS ? now - 2 * FEED_LEASE_MS : 0;
    f->next_look_ms = 0;
    f->room_ms = now;
    liveness_check(f, now);
    assert_true(f->looking);
    feeds_wait(w, has_looked, f);
}

static void take_job(struct feeds *w, long long idle_ms) {
    (void)feeds_do(w, "XGROUP CREATE tc:jobs workers 0");
    (void)feeds_do(w, "XREADGROUP GROUP workers bob STREAMS tc:jobs >");
    (void)feeds_do(w, "XCLAIM tc:jobs workers bob 0 1-1 IDLE %lld JUSTID", idle_ms);
}

static void liveness_of_a_renewed_job_is_not_stalled(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    take_job(*state, 0);
    look(*state, f);
    assert_false(f->stalled);
    assert_true(f->next_look_ms >= hub_now_ms(f->hub) + FEED_LEASE_MS / 2);
}

static void liveness_of_an_idle_job_is_stalled_until_it_is_claimed(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    take_job(*state, FEED_LEASE_MS + 1);
    look(*state, f);
    assert_true(f->stalled);
    assert_int_equal(f->told, STATUS_STALLED);
    assert_string_equal(feed_state_name(f), "stalled");
    (void)feeds_do(*state, "XCLAIM tc:jobs workers eve 0 1-1 JUSTID");
    look(*state, f);
    assert_false(f->stalled);
    assert_int_equal(f->told, STATUS_RUNNING);
    assert_int_equal(f->hub->stats.stalls, 1);
}

static void liveness_of_a_job_that_waits_is_queued_or_stalled_by_its_start(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", false);
    look(*state, f);
    assert_false(f->stalled);
    assert_string_equal(feed_state_name(f), "queued");
    f->started = true;
    look(*state, f);
    assert_true(f->stalled);
}

static void liveness_queues_a_lost_job_again_once(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", false), *g = feeds_open(*state, 1, "g", false);
    (void)feeds_do(*state, "DEL tc:jobs");
    look(*state, f);
    look(*state, g);
    assert_int_equal(feeds_do(*state, "XLEN tc:jobs"), 1);
    assert_int_equal(f->hub->stats.requeued + g->hub->stats.requeued, 1);
    look(*state, f);
    assert_int_equal(feeds_do(*state, "XLEN tc:jobs"), 1);
    assert_true(strcmp(f->job, "1-1") != 0);
}

static void liveness_seen_by_two_at_once_queues_once(void **state) {
    struct feeds *w = *state;
    struct feed *both[] = {feeds_open(w, 0, "g", false), feeds_open(w, 1, "g", false)};
    (void)feeds_do(w, "DEL tc:jobs");
    for (int i = 0; i < 2; i++) {
        both[i]->event_ms = 0;
        queue_forget(both[i]->hub);
        liveness_check(both[i], hub_now_ms(both[i]->hub));
        assert_true(both[i]->looking);
    }
    for (int i = 0; i < 2; i++)
        feeds_wait(w, has_looked, both[i]);
    assert_int_equal(feeds_do(w, "XLEN tc:jobs"), 1);
}

static void liveness_takes_back_only_the_job_that_was_missed(void **state) {
    (void)feeds_open(*state, 0, "g", false);
    /* Another broker has queued it again meanwhile: meta names a job that is not the one missed. */
    assert_int_equal(feeds_do(*state, "EVAL %s 1 tc:{g}:meta 0-7", LIVENESS_TAKE_BACK), 0);
    assert_int_equal(feeds_do(*state, "HEXISTS tc:{g}:meta job"), 1);
    assert_int_equal(feeds_do(*state, "EVAL %s 1 tc:{g}:meta 1-1", LIVENESS_TAKE_BACK), 1);
    assert_int_equal(feeds_do(*state, "HEXISTS tc:{g}:meta job"), 0);
}

static void liveness_leaves_a_lost_job_to_a_worker_that_may_live(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    (void)feeds_do(*state, "DEL tc:jobs");
    look(*state, f);
    assert_true(f->stalled);
    assert_int_equal(feeds_do(*state, "EXISTS tc:jobs"), 0);
    /* Nobody has put off the log's expiry for long: its worker is dead. */
    uint64_t now = hub_now_ms(f->hub);
    assert_true(now > 70000); /* loop time counts from the machine's start */
    f->expires_ms = UINT64_MAX / 2;
    f->renewed_ms = now - 70000;
    (void)feeds_do(*state, "PEXPIRE tc:{g}:log 100000");
    look(*state, f);
    assert_int_equal(feeds_do(*state, "XLEN tc:jobs"), 1);
}

static void liveness_without_a_request_queues_nothing(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", false);
    (void)feeds_do(*state, "HDEL tc:{g}:meta request");
    (void)feeds_do(*state, "DEL tc:jobs");
    look(*state, f);
    assert_int_equal(feeds_do(*state, "EXISTS tc:jobs"), 0);
}

static void liveness_of_garbage_in_meta_gives_up(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    static const char *const jobs[] = {"x", "1-1-1", "99999999999999999999999999999999999999999999999999999-1"};
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        (void)feeds_do(*state, "HSET tc:{g}:meta job %s", jobs[i]);
        look(*state, f);
        assert_false(f->stalled);
    }
}

static void liveness_looks_only_where_somebody_waits(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", true);
    uint64_t now = hub_now_ms(f->hub);
    f->room_ms = 0;
    f->event_ms = 0;
    liveness_check(f, now);
    assert_false(f->looking);
    f->room_ms = now;
    f->event_ms = now;
    liveness_check(f, now);
    assert_false(f->looking);
}

static void liveness_of_a_job_just_seen_in_the_queue_asks_nothing(void **state) {
    struct feed *f = feeds_open(*state, 0, "g", false);
    uint64_t now = hub_now_ms(f->hub);
    f->hub->opts.sweep_ms = 60000; /* what was seen when it was loaded is as good as new */
    f->event_ms = now > 2 * FEED_LEASE_MS ? now - 2 * FEED_LEASE_MS : 0;
    liveness_check(f, now);
    assert_false(f->looking);
    assert_true(f->next_look_ms > now);
    f->started = true; /* then its worker is what counts */
    f->next_look_ms = 0;
    liveness_check(f, now);
    assert_true(f->looking);
    feeds_wait(*state, has_looked, f);
    assert_true(f->stalled);
}

#define T(name) cmocka_unit_test_setup_teardown(name, feeds_setup, feeds_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(liveness_of_a_renewed_job_is_not_stalled),
        T(liveness_of_an_idle_job_is_stalled_until_it_is_claimed),
        T(liveness_of_a_job_that_waits_is_queued_or_stalled_by_its_start),
        T(liveness_of_a_job_just_seen_in_the_queue_asks_nothing),
        T(liveness_queues_a_lost_job_again_once),
        T(liveness_seen_by_two_at_once_queues_once),
        T(liveness_takes_back_only_the_job_that_was_missed),
        T(liveness_leaves_a_lost_job_to_a_worker_that_may_live),
        T(liveness_without_a_request_queues_nothing),
        T(liveness_of_garbage_in_meta_gives_up),
        T(liveness_looks_only_where_somebody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
