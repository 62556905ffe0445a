/* The job queue against a real Redis: taking, claiming, renewing, acknowledging, handing back, closing. */
#include "run/jobs.h"

#include "base/log.h"
#include "publish_rig.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEASE_MS 300

static struct publish_rig rig;

struct taker {
    struct tc_redis *blocking;
    struct jobs *jobs;
    bool ready, closed, link_closed;
    size_t slots;
    size_t taken;
    char job[4][64], gen[4][80];
    struct tc_trace trace[4];
    uint64_t deliveries[4];
    size_t garbage;
};

static size_t free_slots(void *arg) {
    struct taker *t = arg;
    return t->slots;
}

static void on_job(void *arg, const char *job, const char *gen, const struct tc_trace *trace, uint64_t deliveries) {
    struct taker *t = arg;
    assert_true(t->taken < 4 && t->slots > 0);
    snprintf(t->job[t->taken], sizeof(t->job[0]), "%s", job);
    snprintf(t->gen[t->taken], sizeof(t->gen[0]), "%s", gen);
    t->trace[t->taken] = *trace;
    t->deliveries[t->taken++] = deliveries;
    t->slots--;
}

static void on_ready(void *arg) {
    ((struct taker *)arg)->ready = true;
}

static void on_garbage(void *arg, const char *job) {
    (void)job;
    ((struct taker *)arg)->garbage++;
}

static void on_flag(void *arg) {
    *(bool *)arg = true;
}

static void taker_start(struct taker *t, const char *name, size_t slots) {
    static const struct jobs_callbacks cbs = {
        .free_slots = free_slots, .on_job = on_job, .on_ready = on_ready, .on_garbage = on_garbage};
    const struct tc_redis_options link = {.url = rig.url, .backoff_min_ms = 10, .backoff_max_ms = 50};
    const struct jobs_options opts = {.prefix = "tc:", .queue = "", .consumer = name, .lease_ms = LEASE_MS};
    memset(t, 0, sizeof(*t));
    t->slots = slots;
    assert_int_equal(tc_redis_create(&t->blocking, &rig.loop, &link), 0);
    assert_int_equal(jobs_create(&t->jobs, &rig.loop, t->blocking, rig.redis, &opts, &cbs, t), 0);
}

static void taker_stop(struct taker *t) {
    jobs_close(t->jobs, on_flag, &t->closed);
    publish_rig_until(&rig, &t->closed);
    tc_redis_close(t->blocking, on_flag, &t->link_closed);
    publish_rig_until(&rig, &t->link_closed);
}

static void queue(const char *gen) {
    publish_rig_do(&rig, "XADD tc:jobs * gen %s", gen);
}

static bool has_one(void *arg) {
    return ((struct taker *)arg)->taken >= 1;
}

static bool has_two(void *arg) {
    return ((struct taker *)arg)->taken >= 2;
}

static bool has_garbage(void *arg) {
    return ((struct taker *)arg)->garbage >= 1;
}

static bool queue_is_empty(void *arg) {
    (void)arg;
    return publish_rig_int(&rig, "XLEN tc:jobs") == 0;
}

static long long pending(void) {
    redisReply *r = publish_rig_command(&rig, "XPENDING tc:jobs workers");
    long long n = r->element[0]->integer;
    freeReplyObject(r);
    return n;
}

static bool one_is_pending(void *arg) {
    (void)arg;
    return pending() == 1;
}

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

static void jobs_queued_before_the_first_worker_are_taken(void **state) {
    struct taker t;
    (void)state;
    queue("gen_early");
    taker_start(&t, "w1", 4);
    publish_rig_until_true(&rig, has_one, &t);
    assert_true(t.ready);
    assert_string_equal(t.gen[0], "gen_early");
    assert_int_equal(t.deliveries[0], 1);
    queue("gen_late");
    publish_rig_until_true(&rig, has_two, &t);
    assert_string_equal(t.gen[1], "gen_late");
    taker_stop(&t);
}

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void jobs_carry_their_trace_and_take_none_that_is_malformed(void **state) {
    struct taker t;
    (void)state;
    publish_rig_do(&rig, "XADD tc:jobs * gen gen_1 traceparent " PARENT " tracestate a=1");
    publish_rig_do(&rig, "XADD tc:jobs * gen gen_2 traceparent %b tracestate a=1", "00-\r\nX: y", (size_t)9);
    taker_start(&t, "w1", 4);
    publish_rig_until_true(&rig, has_two, &t);
    assert_string_equal(t.trace[0].parent, PARENT);
    assert_string_equal(t.trace[0].state, "a=1");
    assert_string_equal(t.gen[1], "gen_2");
    assert_string_equal(t.trace[1].parent, "");
    assert_string_equal(t.trace[1].state, "");
    taker_stop(&t);
}

static void jobs_claimed_carry_their_trace(void **state) {
    struct taker dead, heir;
    (void)state;
    publish_rig_do(&rig, "XADD tc:jobs * gen gen_1 traceparent " PARENT " tracestate a=1");
    taker_start(&dead, "w1", 1);
    publish_rig_until_true(&rig, has_one, &dead);
    taker_start(&heir, "w2", 1);
    publish_rig_until_true(&rig, has_one, &heir);
    assert_int_equal(heir.deliveries[0], 2);
    assert_string_equal(heir.trace[0].parent, PARENT);
    assert_string_equal(heir.trace[0].state, "a=1");
    taker_stop(&dead);
    taker_stop(&heir);
}

static void jobs_acknowledged_leaves_the_queue(void **state) {
    struct taker t;
    (void)state;
    queue("gen_a");
    taker_start(&t, "w1", 1);
    publish_rig_until_true(&rig, has_one, &t);
    assert_int_equal(pending(), 1);
    jobs_ack(t.jobs, t.job[0]);
    publish_rig_until_true(&rig, queue_is_empty, &t);
    assert_int_equal(pending(), 0);
    taker_stop(&t);
}

static void jobs_without_a_free_slot_waits_for_kick(void **state) {
    struct taker t;
    (void)state;
    taker_start(&t, "w1", 1);
    queue("gen_a");
    queue("gen_b");
    publish_rig_until_true(&rig, has_one, &t);
    publish_rig_run(&rig, 50);
    assert_int_equal(t.taken, 1);
    assert_int_equal(pending(), 1);
    t.slots = 1;
    jobs_kick(t.jobs);
    publish_rig_until_true(&rig, has_two, &t);
    taker_stop(&t);
}

static void jobs_of_a_silent_worker_are_claimed_and_counted(void **state) {
    struct taker t;
    (void)state;
    queue("gen_orphan");
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers dead COUNT 1 STREAMS tc:jobs >");
    taker_start(&t, "w1", 1);
    publish_rig_until_true(&rig, has_one, &t);
    assert_string_equal(t.gen[0], "gen_orphan");
    assert_int_equal(t.deliveries[0], 2);
    taker_stop(&t);
}

static void jobs_renewed_are_not_claimed(void **state) {
    struct taker a, b;
    (void)state;
    queue("gen_a");
    taker_start(&a, "w1", 1);
    publish_rig_until_true(&rig, has_one, &a);
    taker_start(&b, "w2", 1);
    for (int i = 0; i < 20; i++) {
        jobs_renew(a.jobs, a.job[0], a.deliveries[0]);
        publish_rig_run(&rig, LEASE_MS / 6);
    }
    assert_int_equal(b.taken, 0);
    publish_rig_until_true(&rig, has_one, &b); /* and is, once it is silent */
    assert_int_equal(b.deliveries[0], 2);      /* renewals do not count */
    taker_stop(&a);
    taker_stop(&b);
}

static void jobs_handed_back_are_taken_at_once_and_not_counted(void **state) {
    struct taker a, b;
    (void)state;
    queue("gen_a");
    taker_start(&a, "w1", 1);
    publish_rig_until_true(&rig, has_one, &a);
    jobs_stop(a.jobs);
    jobs_hand_back(a.jobs, a.job[0], 1);
    taker_start(&b, "w2", 1);
    publish_rig_until_true(&rig, has_one, &b);
    assert_int_equal(b.deliveries[0], 1);
    taker_stop(&a);
    taker_stop(&b);
}

static void check_pending(const char *consumer, long long deliveries) {
    redisReply *r = publish_rig_command(&rig, "XPENDING tc:jobs workers - + 1");
    assert_int_equal(r->elements, 1);
    assert_string_equal(r->element[0]->element[1]->str, consumer);
    assert_int_equal(r->element[0]->element[3]->integer, deliveries);
    freeReplyObject(r);
}

static void jobs_of_another_worker_are_not_handed_back(void **state) {
    struct taker t;
    (void)state;
    queue("gen_a");
    taker_start(&t, "w1", 1);
    publish_rig_until_true(&rig, has_one, &t);
    publish_rig_do(&rig, "XCLAIM tc:jobs workers other 0 %s RETRYCOUNT 2", t.job[0]);
    jobs_hand_back(t.jobs, t.job[0], 1);
    taker_stop(&t);
    check_pending("other", 2);
}

/* What a hung Redis executes of a dead link raises the count, and kills nobody. */
static void jobs_renewed_count_as_their_worker_counts(void **state) {
    struct taker t;
    (void)state;
    queue("gen_a");
    taker_start(&t, "w1", 1);
    publish_rig_until_true(&rig, has_one, &t);
    publish_rig_do(&rig, "XAUTOCLAIM tc:jobs workers ghost 0 0");
    check_pending("ghost", 2);
    jobs_renew(t.jobs, t.job[0], t.deliveries[0]);
    taker_stop(&t);
    check_pending("w1", 1);
}

static void jobs_are_not_claimed_right_after_an_outage(void **state) {
    struct taker t;
    (void)state;
    taker_start(&t, "w1", 1);
    publish_rig_until(&rig, &t.ready);
    queue("gen_a");
    publish_rig_until_true(&rig, has_one, &t);
    t.slots = 1;
    t.taken = 0;
    publish_rig_do(&rig, "XCLAIM tc:jobs workers alive 0 %s IDLE 9999 JUSTID", t.job[0]);
    publish_rig_do(&rig, "CLIENT KILL TYPE normal SKIPME yes");
    publish_rig_run(&rig, LEASE_MS / 2);
    assert_int_equal(t.taken, 0);
    publish_rig_do(&rig, "XCLAIM tc:jobs workers alive 0 %s JUSTID", t.job[0]); /* renewed in time */
    publish_rig_run(&rig, LEASE_MS * 2 / 3);
    assert_int_equal(t.taken, 0);
    publish_rig_until_true(&rig, has_one, &t); /* and silent from then on */
    taker_stop(&t);
}

static void jobs_claimed_count_once_they_are_begun(void **state) {
    struct taker t;
    (void)state;
    queue("gen_a");
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers dead COUNT 1 STREAMS tc:jobs >");
    taker_start(&t, "w1", 1);
    publish_rig_until_true(&rig, has_one, &t);
    assert_int_equal(t.deliveries[0], 2);
    check_pending("w1", 1);
    jobs_renew(t.jobs, t.job[0], t.deliveries[0]);
    taker_stop(&t);
    check_pending("w1", 2);
}

static void jobs_deleted_after_their_claim_are_forgotten(void **state) {
    struct taker t;
    (void)state;
    queue("gen_a");
    queue("gen_b");
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers dead COUNT 2 STREAMS tc:jobs >");
    redisReply *r = publish_rig_command(&rig, "XRANGE tc:jobs - + COUNT 1");
    publish_rig_do(&rig, "XDEL tc:jobs %s", r->element[0]->element[0]->str);
    freeReplyObject(r);
    taker_start(&t, "w1", 2);
    publish_rig_until_true(&rig, has_one, &t);
    assert_string_equal(t.gen[0], "gen_b");
    publish_rig_until_true(&rig, one_is_pending, NULL);
    taker_stop(&t);
}

static void jobs_without_a_generation_are_dropped(void **state) {
    struct taker t;
    (void)state;
    publish_rig_do(&rig, "XADD tc:jobs * gen %s", "not an id");
    publish_rig_do(&rig, "XADD tc:jobs * foo bar");
    queue("gen_a");
    taker_start(&t, "w1", 4);
    publish_rig_until_true(&rig, has_one, &t);
    publish_rig_until_true(&rig, has_garbage, &t);
    assert_int_equal(t.taken, 1);
    assert_int_equal(t.garbage, 2);
    jobs_ack(t.jobs, t.job[0]);
    publish_rig_until_true(&rig, queue_is_empty, &t);
    taker_stop(&t);
}

static void jobs_after_stop_hands_back_what_a_read_brings(void **state) {
    struct taker t;
    (void)state;
    taker_start(&t, "w1", 1);
    publish_rig_until(&rig, &t.ready);
    publish_rig_run(&rig, 50); /* the read is waiting in Redis */
    jobs_stop(t.jobs);
    queue("gen_a");
    taker_stop(&t);
    assert_int_equal(t.taken, 0);
    redisReply *r = publish_rig_command(&rig, "XPENDING tc:jobs workers - + 1");
    assert_int_equal(r->elements, 1);
    assert_string_equal(r->element[0]->element[1]->str, "handed-back");
    assert_true(r->element[0]->element[2]->integer >= LEASE_MS);
    assert_int_equal(r->element[0]->element[3]->integer, 0);
    freeReplyObject(r);
}

static void jobs_survive_a_killed_link_and_a_lost_queue(void **state) {
    struct taker t;
    (void)state;
    taker_start(&t, "w1", 4);
    publish_rig_until(&rig, &t.ready);
    publish_rig_do(&rig, "CLIENT KILL TYPE normal SKIPME yes");
    queue("gen_a");
    publish_rig_until_true(&rig, has_one, &t);
    publish_rig_do(&rig, "DEL tc:jobs");
    publish_rig_run(&rig, 50);
    queue("gen_b");
    publish_rig_until_true(&rig, has_two, &t);
    taker_stop(&t);
}

static void jobs_close_at_any_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct taker t;
        taker_start(&t, "w1", 1);
        for (int i = 0; i < turns; i++)
            uv_run(&rig.loop, UV_RUN_NOWAIT);
        taker_stop(&t);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(jobs_queued_before_the_first_worker_are_taken),
        T(jobs_acknowledged_leaves_the_queue),
        T(jobs_without_a_free_slot_waits_for_kick),
        T(jobs_carry_their_trace_and_take_none_that_is_malformed),
        T(jobs_claimed_carry_their_trace),
        T(jobs_of_a_silent_worker_are_claimed_and_counted),
        T(jobs_renewed_are_not_claimed),
        T(jobs_handed_back_are_taken_at_once_and_not_counted),
        T(jobs_of_another_worker_are_not_handed_back),
        T(jobs_renewed_count_as_their_worker_counts),
        T(jobs_are_not_claimed_right_after_an_outage),
        T(jobs_claimed_count_once_they_are_begun),
        T(jobs_deleted_after_their_claim_are_forgotten),
        T(jobs_without_a_generation_are_dropped),
        T(jobs_after_stop_hands_back_what_a_read_brings),
        T(jobs_survive_a_killed_link_and_a_lost_queue),
        T(jobs_close_at_any_turn_ends_clean),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
