/* A whole worker: jobs as a broker queues them, logs as readers see them, cancels, abandonment, the ways out. */
#include "worker_fixture.h"

#include "base/log.h"

#include <stdio.h>
#include <string.h>

static bool is_idle(void *arg) {
    (void)arg;
    return tc_list_empty(&worker.runs);
}

/* meta is a hint: it comes after the log. */
static bool meta_state_is(void *arg) {
    return strcmp(publish_rig_str(&rig, "HGET tc:{gen_a}:meta state"), arg) == 0;
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
    assert_true(worker_start(&worker, &rig.loop, &opts, NULL, NULL) < 0);
    publish_rig_run(&rig, 50);
}

#define T(name) cmocka_unit_test_setup_teardown(name, worker_setup, worker_teardown)

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
        T(worker_fenced_neither_renews_nor_acknowledges),
        T(worker_deleted_log_stops_the_provider),
        T(worker_abandoned_generation_is_cancelled),
        T(worker_stop_lets_running_generations_finish),
        T(worker_redis_restart_empty_stops_the_generation),
        T(worker_stop_without_redis_ends),
        T(worker_bad_start_leaves_nothing),
    };
    tc_log_setup("worker-test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
