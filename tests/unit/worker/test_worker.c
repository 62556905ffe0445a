/* A whole worker with the replay provider on the test's loop: jobs as a broker queues them, logs as readers see them,
 * cancels, takeovers, abandonment, the ways out. */
#include "run/worker.h"

#include "base/clock.h"
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

static struct publish_rig rig;
static struct worker worker;
static struct worker_options opts;
static bool stopped;

static void on_stopped(void *arg) {
    (void)arg;
    stopped = true;
}

static void options_for_test(void) {
    static char *none[] = {NULL};
    char *argv[] = {(char[]){"worker"},         (char[]){"--provider=replay"}, (char[]){"--ops-listen=127.0.0.1:0"},
                    (char[]){"--lease-ms=600"}, (char[]){"--settle=100"},      (char[]){"--grace=10s"},
                    (char[]){"--slots=4"},      (char[]){"--max-attempts=2"},  NULL};
    enum tc_option_action action;
    struct tc_buf err;
    tc_buf_init(&err, 4096);
    memset(&opts, 0, sizeof(opts));
    assert_int_equal(tc_options_parse(worker_option_table, &opts, 8, argv, none, &action, &err), 0);
    assert_int_equal(worker_options_check(&opts, &err), 0);
    opts.redis = rig.url;
    tc_buf_fini(&err);
}

static void start(void) {
    memset(&worker, 0, sizeof(worker));
    stopped = false;
    assert_int_equal(worker_start(&worker, &rig.loop, &opts, on_stopped, NULL), 0);
}

static void stop(void) {
    worker_stop(&worker);
    publish_rig_until(&rig, &stopped);
}

/* As a broker does: log and meta, the job, its id in meta. */
static void post(const char *gen, const char *request, const char *meta) {
    char job[64];
    publish_rig_create(&rig, gen, 0);
    publish_rig_do(&rig, "HSET tc:{%s}:meta request %s", gen, request);
    if (meta)
        publish_rig_do(&rig, "HSET tc:{%s}:meta %s %s", gen, meta, strchr(meta, '\0') + 1);
    snprintf(job, sizeof(job), "%s", publish_rig_str(&rig, "XADD tc:jobs * gen %s", gen));
    publish_rig_do(&rig, "HSETNX tc:{%s}:meta job %s", gen, job);
}

#define REQUEST(text, rate) "{\"prompt\":\"x\",\"options\":{\"text\":\"" text "\",\"rate\":" rate "}}"
#define ENDLESS             REQUEST("one two three four five six seven eight nine ten", "5")

static bool queue_is_empty(void *arg) {
    (void)arg;
    return publish_rig_int(&rig, "XLEN tc:jobs") == 0 && tc_list_empty(&worker.runs);
}

static bool is_idle(void *arg) {
    (void)arg;
    return tc_list_empty(&worker.runs);
}

static bool slot_is_free(void *arg) {
    (void)arg;
    return worker.busy_slots == 0;
}

static bool is_recalling(void) {
    const struct job_run *run = TC_CONTAINER_OF(worker.runs.next, struct job_run, node);
    return !tc_list_empty(&worker.runs) && run->state == JOB_RECALLING;
}

/* meta is a hint: it comes after the log. */
static bool meta_state_is(void *arg) {
    return strcmp(publish_rig_str(&rig, "HGET tc:{gen_a}:meta state"), arg) == 0;
}

static bool log_has(void *arg) {
    return strstr(publish_rig_log(&rig, "gen_a"), arg) != NULL;
}

static void await(const char *in_log) {
    char text[64];
    snprintf(text, sizeof(text), "%s", in_log);
    publish_rig_until_true(&rig, log_has, text);
}

static int setup(void **state) {
    (void)state;
    publish_rig_init(&rig);
    options_for_test();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    publish_rig_fini(&rig);
    return 0;
}

static void worker_job_becomes_a_finished_log(void **state) {
    (void)state;
    start();
    post("gen_a", REQUEST("a b c", "1000"), NULL);
    await("done stop");
    assert_string_equal(publish_rig_text(&rig, "gen_a"), "a b c");
    assert_true(publish_rig_int(&rig, "XLEN tc:jobs") == 1); /* not yet settled */
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    assert_string_equal(publish_rig_str(&rig, "HGET tc:{gen_a}:meta state"), "done");
    stop();
}

static void worker_keeps_the_job_while_it_settles(void **state) {
    (void)state;
    opts.settle = 900; /* several renewals */
    start();
    post("gen_a", REQUEST("a b c", "1000"), NULL);
    await("done stop");
    publish_rig_run(&rig, 500);
    assert_int_equal(publish_rig_int(&rig, "XLEN tc:jobs"), 1);
    assert_int_equal(worker.busy_slots, 0);
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    stop();
}

static void worker_runs_more_jobs_than_slots(void **state) {
    char gen[16];
    (void)state;
    start();
    for (int i = 0; i < 20; i++) {
        snprintf(gen, sizeof(gen), "gen_%d", i);
        post(gen, REQUEST("a b c", "1000"), NULL);
    }
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    for (int i = 0; i < 20; i++) {
        snprintf(gen, sizeof(gen), "gen_%d", i);
        assert_string_equal(publish_rig_text(&rig, gen), "a b c");
    }
    stop();
}

static void worker_cancel_ends_the_log(void **state) {
    (void)state;
    start();
    post("gen_a", ENDLESS, NULL);
    await("delta 0 one");
    publish_rig_do(&rig, "HSET tc:{gen_a}:meta cancel 1");
    publish_rig_do(&rig, "PUBLISH tc:{gen_a}:ctl cancel");
    await("done cancelled");
    publish_rig_until_true(&rig, meta_state_is, (char[]){"cancelled"});
    stop();
}

static void worker_cancelled_before_it_began_says_only_done(void **state) {
    (void)state;
    post("gen_a", ENDLESS,
         "cancel\0"
         "1");
    start();
    await("done cancelled");
    assert_string_equal(publish_rig_log(&rig, "gen_a"), "1 created \n- fence\n2 done cancelled\n");
    stop();
}

static void worker_bad_request_ends_with_an_error(void **state) {
    (void)state;
    start();
    post("gen_a", "{not json", NULL);
    await("done error");
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "error bad_request"));
    publish_rig_until_true(&rig, meta_state_is, (char[]){"failed"});
    stop();
}

static void worker_drops_jobs_without_meta_log_or_right(void **state) {
    (void)state;
    publish_rig_do(&rig, "XADD tc:jobs * gen gen_none");
    post("gen_a", ENDLESS, NULL);
    publish_rig_do(&rig, "DEL tc:{gen_a}:log");
    post("gen_b", ENDLESS, NULL);
    publish_rig_do(&rig, "HSET tc:{gen_b}:meta job 1-1");
    start();
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    assert_string_equal(publish_rig_log(&rig, "gen_b"), "1 created \n");
    assert_int_equal(publish_rig_int(&rig, "EXISTS tc:{gen_a}:log tc:{gen_none}:meta"), 0);
    stop();
}

static void worker_completes_a_job_without_its_id_in_meta(void **state) {
    (void)state;
    publish_rig_create(&rig, "gen_a", 0);
    publish_rig_do(&rig, "HSET tc:{gen_a}:meta request %s", REQUEST("a b", "1000"));
    publish_rig_do(&rig, "XADD tc:jobs * gen gen_a");
    start();
    await("done stop");
    assert_string_not_equal(publish_rig_str(&rig, "HGET tc:{gen_a}:meta job"), "");
    stop();
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

static void worker_fenced_neither_renews_nor_acknowledges(void **state) {
    (void)state;
    start();
    post("gen_a", ENDLESS, NULL);
    await("delta 0 one");
    publish_rig_do(&rig, "XCLAIM tc:jobs workers other 0 %s", publish_rig_str(&rig, "HGET tc:{gen_a}:meta job"));
    publish_rig_fence(&rig, "gen_a", 9999999999);
    publish_rig_until_true(&rig, is_idle, NULL);
    redisReply *r = publish_rig_command(&rig, "XPENDING tc:jobs workers - + 1");
    assert_int_equal(r->elements, 1);
    assert_string_equal(r->element[0]->element[1]->str, "other");
    freeReplyObject(r);
    stop();
}

static void worker_deleted_log_stops_the_provider(void **state) {
    (void)state;
    start();
    post("gen_a", ENDLESS, NULL);
    await("delta 0 one");
    publish_rig_do(&rig, "DEL tc:{gen_a}:log");
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    assert_int_equal(publish_rig_int(&rig, "EXISTS tc:{gen_a}:log"), 0);
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

static void worker_abandoned_generation_is_cancelled(void **state) {
    (void)state;
    start();
    post("gen_a", REQUEST("one two three four five six seven eight nine ten", "1"),
         "on_abandon_ms\0"
         "100");
    publish_rig_do(&rig, "ZADD tc:{gen_a}:viewers 99999999999999 broker1");
    await("delta 0 one");
    publish_rig_run(&rig, 1000);
    assert_null(strstr(publish_rig_log(&rig, "gen_a"), "done"));
    publish_rig_do(&rig, "ZADD tc:{gen_a}:viewers 1 broker1"); /* its lease ran out */
    await("done cancelled");
    stop();
}

static void worker_stop_lets_running_generations_finish(void **state) {
    (void)state;
    start();
    post("gen_a", REQUEST("one two three four", "10"), NULL);
    await("delta 0 one");
    worker_stop(&worker);
    post("gen_b", REQUEST("no", "10"), NULL);
    publish_rig_until(&rig, &stopped);
    assert_non_null(strstr(publish_rig_log(&rig, "gen_a"), "done stop"));
    assert_string_equal(publish_rig_log(&rig, "gen_b"), "1 created \n");
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

static void worker_redis_restart_empty_stops_the_generation(void **state) {
    (void)state;
    start();
    post("gen_a", ENDLESS, NULL);
    await("delta 0 one");
    publish_rig_server_kill(&rig);
    publish_rig_run(&rig, 100);
    publish_rig_server_start(&rig);
    publish_rig_until_true(&rig, is_idle, NULL);
    assert_int_equal(publish_rig_int(&rig, "EXISTS tc:{gen_a}:log"), 0);
    post("gen_c", REQUEST("a", "1000"), NULL);
    publish_rig_until_true(&rig, queue_is_empty, NULL);
    stop();
}

static void worker_stop_without_redis_ends(void **state) {
    (void)state;
    publish_rig_server_kill(&rig);
    start();
    publish_rig_run(&rig, 50);
    stop();
    publish_rig_server_start(&rig);
}

static void worker_bad_start_leaves_nothing(void **state) {
    (void)state;
    opts.redis = "gopher://x";
    memset(&worker, 0, sizeof(worker));
    assert_true(worker_start(&worker, &rig.loop, &opts, on_stopped, NULL) < 0);
    publish_rig_run(&rig, 50);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(worker_job_becomes_a_finished_log),
        T(worker_keeps_the_job_while_it_settles),
        T(worker_runs_more_jobs_than_slots),
        T(worker_cancel_ends_the_log),
        T(worker_cancelled_before_it_began_says_only_done),
        T(worker_bad_request_ends_with_an_error),
        T(worker_drops_jobs_without_meta_log_or_right),
        T(worker_completes_a_job_without_its_id_in_meta),
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
        T(worker_fenced_neither_renews_nor_acknowledges),
        T(worker_deleted_log_stops_the_provider),
        T(worker_lost_tail_past_repair_begins_a_new_attempt),
        T(worker_abandoned_generation_is_cancelled),
        T(worker_stop_lets_running_generations_finish),
        T(worker_stop_past_grace_hands_back),
        T(worker_stop_hands_back_what_settles),
        T(worker_link_lost_at_any_turn_of_a_takeover_goes_on),
        T(worker_tail_lost_at_a_takeover_is_read_again),
        T(worker_redis_restart_empty_stops_the_generation),
        T(worker_stop_without_redis_ends),
        T(worker_bad_start_leaves_nothing),
    };
    tc_log_setup("worker-test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
