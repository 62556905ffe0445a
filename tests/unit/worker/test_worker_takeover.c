/* A worker that takes over: logs that dead ones left, jobs that were handed back, and what may go wrong meanwhile. */
#include "worker_fixture.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

static bool slot_is_free(void *arg) {
    (void)arg;
    return worker.busy_slots == 0;
}

static bool is_recalling(void) {
    const struct job_run *run = TC_CONTAINER_OF(worker.runs.next, struct job_run, node);
    return !tc_list_empty(&worker.runs) && run->state == JOB_RECALLING;
}

/* A worker that began gen_a, wrote "zero" and died. */
static void dead_worker(const char *on_crash) {
    struct tc_buf e;
    struct tc_event ev = {.type = TC_EV_DELTA, .at = 1, .text = TC_STR("zero")};
    char meta[32];
    memset(meta, 0, sizeof(meta));
    snprintf(meta, sizeof(meta), "on_crash");
    snprintf(meta + 9, sizeof(meta) - 9, "%s", on_crash);
    post("gen_a", REQUEST("one two", "1000"), meta);
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers dead COUNT 1 STREAMS tc:jobs >");
    tc_buf_init(&e, 0);
    tc_event_encode(&e, &ev);
    publish_rig_do(&rig, "XADD tc:{gen_a}:log 1-2 e %b", e.data, e.len);
    tc_buf_fini(&e);
}

static void append(const char *position, const struct tc_event *ev) {
    struct tc_buf e;
    tc_buf_init(&e, 0);
    tc_event_encode(&e, ev);
    publish_rig_do(&rig, "XADD tc:{gen_a}:log %s e %b", position, e.data, e.len);
    tc_buf_fini(&e);
}

static void say(const char *position, const char *text) {
    append(position, &(struct tc_event){.type = TC_EV_DELTA, .at = 1, .text = tc_str_from(text)});
}

/* As dead_worker(), with the answer's beginning in the log and the policy left to its default. */
static void dead_worker_said(const char *request, const char *text) {
    post("gen_a", request, NULL);
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers dead COUNT 1 STREAMS tc:jobs >");
    say("1-2", text);
}

static void worker_takes_over_and_restarts(void **state) {
    (void)state;
    dead_worker("restart");
    start();
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"),
                           "2 delta 0 zero\n- fence\n3 attempt worker_lost\n4 start \n5 delta 0 one"));
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    stop();
}

/* The request of dead_worker() has an answer that "zero" is no part of. */
static void worker_takes_over_and_restarts_what_the_provider_does_not_know(void **state) {
    (void)state;
    dead_worker("continue");
    start();
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "3 attempt worker_lost\n4 start \n5 delta 0 one"));
    assert_string_equal(publish_rig_text(&rig, "gen_a"), "one two");
    stop();
}

static void worker_takes_over_and_goes_on(void **state) {
    (void)state;
    dead_worker_said(REQUEST("one \xf0\x9f\xa6\x8a two", "1000"), "one \xf0\x9f\xa6\x8a");
    start();
    await("done stop");
    const char *log = publish_rig_log(&rig, "gen_a");
    assert_non_null(strstr(log, "3 attempt worker_lost\n4 start \n5 delta 6  two\n6 done stop"));
    assert_string_equal(publish_rig_text(&rig, "gen_a"), "one \xf0\x9f\xa6\x8a two");
    stop();
}

static void worker_takes_over_a_text_that_is_whole_but_for_done(void **state) {
    (void)state;
    dead_worker_said(REQUEST("one two", "1000"), "one two");
    start();
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "3 attempt worker_lost\n4 start \n5 done stop"));
    assert_string_equal(publish_rig_text(&rig, "gen_a"), "one two");
    stop();
}

static void worker_takes_over_a_long_log(void **state) {
    char position[32];
    (void)state;
    post("gen_a", ENDLESS, NULL);
    publish_rig_do(
        &rig, "HSET tc:{gen_a}:meta request %s",
        "{\"prompt\":\"x\",\"options\":{\"text\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa end\",\"rate\":1000}}");
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers dead COUNT 1 STREAMS tc:jobs >");
    for (unsigned i = 0; i < 256; i++) { /* two full pages with what stands before them */
        snprintf(position, sizeof(position), "1-%u", i + 2);
        append(position, &(struct tc_event){.type = TC_EV_DELTA, .at = 1, .offset = i, .text = TC_STR("a")});
    }
    start();
    await("done stop");
    const char *text = publish_rig_text(&rig, "gen_a");
    assert_string_equal(text + strspn(text, "a"), " end");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "258 attempt worker_lost\n259 start \n260 delta 256 "));
    stop();
}

static void worker_takes_over_a_trimmed_log_and_restarts(void **state) {
    (void)state;
    dead_worker_said(REQUEST("one two", "1000"), "one");
    publish_rig_do(&rig, "XDEL tc:{gen_a}:log 0-1");
    start();
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "5 delta 0 one"));
    stop();
}

static void worker_ends_a_log_whose_error_has_no_done(void **state) {
    (void)state;
    dead_worker_said(REQUEST("one two", "1000"), "one");
    append("1-3", &(struct tc_event){.type = TC_EV_ERROR, .at = 1, .code = TC_STR("bad"), .message = TC_STR("m")});
    start();
    await("done error");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "3 error bad\n- fence\n4 done error"));
    stop();
}

static void worker_cancelled_at_a_takeover_leaves_the_text(void **state) {
    (void)state;
    dead_worker_said(REQUEST("one two", "1000"), "one");
    publish_rig_do(&rig, "HSET tc:{gen_a}:meta cancel 1");
    start();
    await("done cancelled");
    assert_string_equal(publish_rig_text(&rig, "gen_a"), "one");
    stop();
}

static void worker_handed_back_is_no_crash(void **state) {
    (void)state;
    post("gen_a", REQUEST("one two", "1000"), "on_crash\0fail");
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XREADGROUP GROUP workers first COUNT 1 STREAMS tc:jobs >");
    say("1-2", "one");
    publish_rig_do(&rig, "XCLAIM tc:jobs workers handed-back 0 %s IDLE 9999 RETRYCOUNT 0 JUSTID",
                   publish_rig_str(&rig, "HGET tc:{gen_a}:meta job"));
    start();
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "3 attempt handed_back"));
    stop();
}

static void worker_stop_at_any_turn_of_a_takeover_ends_clean(void **state) {
    (void)state;
    for (int turns = 1; turns < 30; turns++) {
        publish_rig_do(&rig, "FLUSHALL");
        opts.grace = 0;
        dead_worker_said(REQUEST("one two three four five six", "1"), "one");
        publish_rig_do(&rig, "XCLAIM tc:jobs workers dead 0 %s IDLE 9999 JUSTID",
                       publish_rig_str(&rig, "HGET tc:{gen_a}:meta job"));
        start();
        for (int i = 0; i < turns; i++)
            uv_run(&rig.loop, UV_RUN_ONCE);
        stop();
        assert_true(publish_rig_int(&rig, "XLEN tc:jobs") == 1);
    }
}

static void worker_takes_over_and_fails_by_policy(void **state) {
    (void)state;
    dead_worker("fail");
    start();
    await("done error");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "3 error worker_lost\n4 done error"));
    stop();
}

static void worker_ends_a_job_that_kills_workers(void **state) {
    (void)state;
    dead_worker("restart");
    for (int i = 0; i < 2; i++)
        publish_rig_do(&rig, "XAUTOCLAIM tc:jobs workers dead 0 0");
    start();
    await("done error");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "error too_many_attempts"));
    stop();
}

static void worker_finds_done_and_only_acknowledges(void **state) {
    (void)state;
    start();
    post("gen_a", REQUEST("a", "1000"), NULL);
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    long long length = publish_rig_int(&rig, "XLEN tc:{gen_a}:log");
    char job[64];
    snprintf(job, sizeof(job), "%s", publish_rig_str(&rig, "XADD tc:jobs * gen gen_a"));
    publish_rig_do(&rig, "HSET tc:{gen_a}:meta job %s", job);
    publish_rig_run(&rig, 50);
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    assert_int_equal(publish_rig_int(&rig, "XLEN tc:{gen_a}:log"), length);
    stop();
}

static void worker_lost_tail_past_repair_begins_a_new_attempt(void **state) {
    (void)state;
    opts.window_bytes = 1;
    start();
    post("gen_a", REQUEST("one two three four five six seven eight", "10"), NULL);
    await("delta 0 one");
    redisReply *d = publish_rig_command(&rig, "DUMP tc:{gen_a}:log");
    await("three");
    publish_rig_do(&rig, "RESTORE tc:{gen_a}:log 0 %b REPLACE", d->str, d->len);
    freeReplyObject(d);
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "attempt log_lost"));
    stop();
}

static void worker_stop_past_grace_hands_back(void **state) {
    (void)state;
    opts.grace = 100;
    start();
    post("gen_a", ENDLESS, NULL);
    await("delta 0 one");
    stop();
    assert_null(strstr(publish_rig_log(&rig, "gen_a"), "done"));
    redisReply *r = publish_rig_command(&rig, "XPENDING tc:jobs workers - + 1");
    assert_int_equal(r->elements, 1);
    assert_string_equal(r->element[0]->element[1]->str, "handed-back");
    freeReplyObject(r);
    start(); /* the next worker takes it at once */
    await("attempt handed_back");
    worker_stop(&worker);
    stop();
}

/* The rest of the settle time is another worker's. */
static void worker_stop_hands_back_what_settles(void **state) {
    (void)state;
    opts.settle = 3600000;
    start();
    post("gen_a", REQUEST("a", "1000"), NULL);
    await("done stop");
    publish_rig_until_true(&rig, slot_is_free, NULL);
    stop();
    redisReply *r = publish_rig_command(&rig, "XPENDING tc:jobs workers - + 1");
    assert_int_equal(r->elements, 1);
    assert_string_equal(r->element[0]->element[1]->str, "handed-back");
    freeReplyObject(r);
    opts.settle = 100;
    start();
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    assert_null(strstr(publish_rig_log(&rig, "gen_a"), "attempt"));
    stop();
}

static void worker_link_lost_at_any_turn_of_a_takeover_goes_on(void **state) {
    (void)state;
    for (int turns = 2; turns < 40; turns += 3) {
        publish_rig_do(&rig, "FLUSHALL");
        dead_worker_said(REQUEST("one two three four", "100"), "one");
        publish_rig_do(&rig, "XCLAIM tc:jobs workers dead 0 %s IDLE 9999 JUSTID",
                       publish_rig_str(&rig, "HGET tc:{gen_a}:meta job"));
        start();
        for (int i = 0; i < turns; i++)
            uv_run(&rig.loop, UV_RUN_ONCE);
        publish_rig_do(&rig, "CLIENT KILL TYPE normal SKIPME yes");
        await("done stop");
        assert_string_equal(publish_rig_text(&rig, "gen_a"), "one two three four");
        publish_rig_until_true(&rig, queue_is_empty, NULL);
        stop();
    }
}

/* The failover loses what the new attempt had begun to read. */
static void worker_tail_lost_at_a_takeover_is_read_again(void **state) {
    (void)state;
    dead_worker_said(REQUEST("one two three", "1000"), "one");
    redisReply *d = publish_rig_command(&rig, "DUMP tc:{gen_a}:log");
    append("1-3", &(struct tc_event){.type = TC_EV_DELTA, .at = 1, .offset = 3, .text = TC_STR(" two")});
    start();
    for (int i = 0; i < 10000 && !is_recalling(); i++) /* soon over: no helper that looks twice */
        uv_run(&rig.loop, UV_RUN_ONCE);
    assert_true(is_recalling());
    publish_rig_do(&rig, "RESTORE tc:{gen_a}:log 0 %b REPLACE", d->str, d->len);
    publish_rig_do(&rig, "CLIENT KILL TYPE normal SKIPME yes");
    freeReplyObject(d);
    await("done stop");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "3 attempt log_lost"));
    assert_string_equal(publish_rig_text(&rig, "gen_a"), "one two three");
    stop();
}

#define T(name) cmocka_unit_test_setup_teardown(name, worker_setup, worker_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(worker_takes_over_and_restarts),
        T(worker_takes_over_and_restarts_what_the_provider_does_not_know),
        T(worker_takes_over_and_goes_on),
        T(worker_takes_over_a_text_that_is_whole_but_for_done),
        T(worker_takes_over_a_long_log),
        T(worker_takes_over_a_trimmed_log_and_restarts),
        T(worker_ends_a_log_whose_error_has_no_done),
        T(worker_cancelled_at_a_takeover_leaves_the_text),
        T(worker_handed_back_is_no_crash),
        T(worker_stop_at_any_turn_of_a_takeover_ends_clean),
        T(worker_takes_over_and_fails_by_policy),
        T(worker_ends_a_job_that_kills_workers),
        T(worker_finds_done_and_only_acknowledges),
        T(worker_lost_tail_past_repair_begins_a_new_attempt),
        T(worker_stop_past_grace_hands_back),
        T(worker_stop_hands_back_what_settles),
        T(worker_link_lost_at_any_turn_of_a_takeover_goes_on),
        T(worker_tail_lost_at_a_takeover_is_read_again),
    };
    tc_log_setup("takeover-test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
