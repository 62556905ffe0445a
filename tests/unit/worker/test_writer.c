/* Writers against a real Redis: what is said becomes a log, announcements, cancels, closing. */
#include "tokencast/publish.h"

#include "base/log.h"
#include "publish_pen.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct publish_rig rig;

static int setup(void **state) {
    (void)state;
    publish_rig_init(&rig);
    publish_rig_create(&rig, PEN_GEN, 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    publish_rig_fini(&rig);
    return 0;
}

/* ---- Writing */

static void writer_whole_life_is_a_fenced_log(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    assert_int_equal(p.last.seq, 1);
    assert_false(p.ended);
    assert_int_equal(tc_writer_start(p.w, "m", "test"), 0);
    pen_say_acknowledged(&p, "Hello");
    pen_say_acknowledged(&p, ", world");
    pen_finish(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN),
                        "1 created \n- fence\n2 start \n3 delta 0 Hello\n4 delta 5 , world\n5 done stop\n");
    assert_int_equal(tc_writer_position(p.w).seq, 5);
    assert_true(tc_writer_ttft_ms(p.w) >= 0);
    pen_close(&p);
}

static void writer_sets_expiry_and_hints(void **state) {
    struct pen p;
    const struct tc_publisher_options opts = {.retention_ms = 100000, .owner = "me"};
    (void)state;
    pen_start(&p, &rig, &opts, false);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(tc_writer_start(p.w, "m", "test"), 0);
    pen_say_acknowledged(&p, "x");
    pen_settle(&p);
    long long ttl = publish_rig_int(&rig, "PTTL " PEN_LOG);
    assert_true(ttl > 50000 && ttl <= 100000);
    assert_true(publish_rig_int(&rig, "PTTL " PEN_META) > ttl);
    assert_string_equal(publish_rig_str(&rig, "HGET " PEN_META " state"), "running");
    assert_string_equal(publish_rig_str(&rig, "HGET " PEN_META " owner"), "me");
    pen_finish(&p);
    pen_settle(&p);
    assert_string_equal(publish_rig_str(&rig, "HGET " PEN_META " state"), "done");
    assert_string_equal(publish_rig_str(&rig, "HGET " PEN_META " reason"), "stop");
    pen_close(&p);
}

static void writer_missing_log_is_gone(void **state) {
    struct pen p;
    (void)state;
    publish_rig_do(&rig, "DEL " PEN_LOG);
    pen_start(&p, &rig, NULL, false);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(p.open_err, TC_EGONE);
    assert_int_equal(tc_writer_start(p.w, "m", "t"), TC_ESTATE);
    assert_int_equal(publish_rig_int(&rig, "EXISTS " PEN_LOG), 0);
    pen_close(&p);
}

static void writer_create_makes_the_log_once(void **state) {
    struct pen p;
    (void)state;
    publish_rig_do(&rig, "DEL " PEN_LOG " " PEN_META);
    pen_start(&p, &rig, NULL, true);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(p.open_err, 0);
    pen_close(&p);
    pen_start(&p, &rig, NULL, true);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(p.open_err, 0);
    pen_finish(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN), "1 created \n- fence\n- fence\n2 done stop\n");
    pen_close(&p);
}

static void writer_attempt_is_after_tail_and_clock(void **state) {
    struct pen p;
    (void)state;
    publish_rig_do(&rig, "DEL " PEN_LOG);
    publish_rig_create(&rig, PEN_GEN, 5000);
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    uint64_t first = tc_writer_position(p.w).attempt;
    assert_true(first >= 5001 && first < 60000);
    pen_close(&p);
    publish_rig_fence(&rig, PEN_GEN, 99999999);
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "b");
    assert_int_equal(tc_writer_position(p.w).attempt, 100000000);
    assert_int_equal(tc_writer_position(p.w).seq, 3);
    pen_close(&p);
}

static void writer_goes_on_below_many_fences(void **state) {
    struct pen p;
    (void)state;
    for (int i = 1; i <= 20; i++)
        publish_rig_fence(&rig, PEN_GEN, 1000000 + (unsigned)i);
    pen_open(&p, &rig);
    assert_int_equal(p.last.attempt, 0);
    assert_int_equal(p.last.seq, 1);
    pen_close(&p);
}

static void writer_merges_what_is_said_during_an_append(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    for (int i = 0; i < 1000; i++)
        pen_say(&p, "\xe2\x82\xac");
    pen_finish(&p);
    const struct tc_publisher_stats *s = tc_publisher_stats(p.publisher);
    assert_int_equal(s->pieces, 1000);
    assert_true(s->appends <= 4); /* the first piece, the rest, done */
    assert_int_equal(strlen(publish_rig_text(&rig, PEN_GEN)), 3000);
    pen_close(&p);
}

static void writer_tool_call_without_arguments_is_an_empty_object(void **state) {
    struct pen p;
    const struct tc_str none = {0};
    (void)state;
    pen_open(&p, &rig);
    assert_int_equal(tc_writer_tool_call(p.w, 0, TC_STR("c0"), TC_STR("now"), none, true), 0);
    assert_int_equal(tc_writer_tool_call(p.w, 1, TC_STR("c1"), TC_STR("f"), TC_STR("{\"a\":"), false), 0);
    assert_int_equal(tc_writer_tool_call(p.w, 1, none, none, TC_STR("oops"), true), 0);
    pen_finish(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN), "1 created \n- fence\n2 tool_call 0 done {}\n"
                                                        "3 tool_call 0 done invalid {\"a\":oops\n4 done stop\n");
    pen_close(&p);
}

static void writer_refuses_what_is_not_said_in_time_or_form(void **state) {
    struct pen p;
    const struct tc_publisher_options opts = {.max_log_bytes = 10};
    (void)state;
    pen_start(&p, &rig, &opts, false);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("x")), TC_ESTATE);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("\xe2\x82")), TC_EINVAL);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_OTHER, 0, TC_STR("x")), TC_EINVAL);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("0123456789")), 0);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("x")), TC_ETOOLARGE);
    assert_int_equal(tc_writer_error(p.w, "too_large", TC_STR("too large"), false, 0), 0);
    pen_finish(&p);
    assert_int_equal(tc_writer_finish(p.w, "stop", (struct tc_str){0}), TC_ESTATE);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("x")), TC_ESTATE);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN),
                        "1 created \n- fence\n2 delta 0 0123456789\n3 error too_large\n4 done stop\n");
    pen_close(&p);
}

static void writer_attempt_event_carries_offsets_on(void **state) {
    struct pen p;
    const struct tc_kept kept = {.kind = TC_STR("text"), .index = 0, .length = 5};
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "Hello wor");
    pen_close(&p);
    pen_open(&p, &rig);
    assert_int_equal(tc_writer_attempt(p.w, 2, "worker_lost", &kept, 1), 0);
    pen_say(&p, ", you");
    assert_int_equal(tc_writer_attempt(p.w, 2, "worker_lost", &kept, 1), TC_ESTATE);
    pen_finish(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN), "1 created \n- fence\n2 delta 0 Hello wor\n- fence\n"
                                                        "3 attempt worker_lost\n4 delta 5 , you\n5 done stop\n");
    pen_close(&p);
}

static void writer_second_attempt_event_replaces_the_first(void **state) {
    struct pen p;
    const struct tc_kept kept = {.kind = TC_STR("text"), .index = 0, .length = 5};
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "Hello");
    pen_close(&p);
    pen_open(&p, &rig);
    assert_int_equal(tc_writer_attempt(p.w, 2, "worker_lost", &kept, 1), 0);
    assert_int_equal(tc_writer_start(p.w, "m", "x"), 0);
    assert_int_equal(tc_writer_attempt(p.w, 2, "continue_refused", NULL, 0), 0);
    pen_say(&p, "Bye");
    pen_finish(&p);
    assert_non_null(strstr(publish_rig_log(&rig, PEN_GEN), "5 attempt continue_refused\n6 delta 0 Bye\n7 done stop\n"));
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), "Bye");
    pen_close(&p);
}

static void writer_kept_text_counts_against_the_limit(void **state) {
    struct pen p;
    const struct tc_publisher_options opts = {.max_log_bytes = 10};
    const struct tc_kept kept[] = {{.kind = TC_STR("text"), .length = 8},
                                   {.kind = TC_STR("tool_call"), .length = ~0ULL}};
    (void)state;
    pen_start(&p, &rig, &opts, false);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(tc_writer_attempt(p.w, 2, "worker_lost", kept, 2), 0);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("a")), TC_ETOOLARGE);
    assert_int_equal(tc_writer_attempt(p.w, 2, "worker_lost", kept, 1), 0);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("abc")), TC_ETOOLARGE);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("ab")), 0);
    pen_close(&p);
}

static void writer_pressure_stops_and_goes_on(void **state) {
    struct pen p;
    char block[1001];
    const struct tc_publisher_options opts = {.buffer_bytes = 4000};
    (void)state;
    memset(block, 'x', sizeof(block) - 1);
    block[sizeof(block) - 1] = '\0';
    pen_start(&p, &rig, &opts, false);
    publish_rig_until(&rig, &p.opened);
    /* The first is on its way; four more are the bound, and the one behind them is told at once that it is too much. */
    for (int i = 0; i < 5; i++)
        pen_say(&p, block);
    assert_false(p.stopped);
    pen_say(&p, block);
    assert_true(p.stopped);
    publish_rig_until(&rig, &p.relieved);
    pen_finish(&p);
    assert_int_equal(strlen(publish_rig_text(&rig, PEN_GEN)), 6000);
    pen_close(&p);
}

static void writer_cadence_gathers_pieces(void **state) {
    struct pen p;
    const struct tc_publisher_options opts = {.flush_tokens = 4, .flush_ms = 100000};
    (void)state;
    pen_start(&p, &rig, &opts, false);
    publish_rig_until(&rig, &p.opened);
    pen_say_acknowledged(&p, "1");
    pen_say(&p, "2");
    pen_settle(&p);
    pen_say(&p, "3");
    pen_settle(&p);
    pen_say(&p, "4");
    pen_say(&p, "5");
    pen_settle(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN), "1 created \n- fence\n2 delta 0 1\n3 delta 1 2345\n");
    pen_finish(&p);
    pen_close(&p);
}

/* ---- Announcing */

struct ear {
    struct tc_redis_sub sub;
    bool ready, heard;
    char ids[1024];
    size_t count;
};

static void on_ear_ready(void *arg) {
    ((struct ear *)arg)->ready = true;
}

/* Each announcement is what the log holds under its id at that moment. */
static void on_announcement(void *arg, struct tc_str payload) {
    struct ear *ear = arg;
    const char *space = memchr(payload.p, ' ', payload.n);
    assert_non_null(space);
    char id[64];
    snprintf(id, sizeof(id), "%.*s", (int)(space - payload.p), payload.p);
    redisReply *r = publish_rig_command(&rig, "XRANGE " PEN_LOG " %s %s", id, id);
    assert_int_equal(r->elements, 1);
    const redisReply *e = r->element[0]->element[1]->element[1];
    assert_int_equal(e->len, payload.n - (size_t)(space + 1 - payload.p));
    assert_memory_equal(e->str, space + 1, e->len);
    freeReplyObject(r);
    ear->count++;
}

static bool heard_four(void *arg) {
    return ((struct ear *)arg)->count == 4;
}

static void writer_announces_each_acknowledged_entry(void **state) {
    struct pen p;
    struct ear ear = {.sub = {.on_message = on_announcement, .on_ready = on_ear_ready}};
    (void)state;
    ear.sub.arg = &ear;
    assert_int_equal(tc_redis_subscribe(rig.redis, &ear.sub, PEN_BELL), 0);
    publish_rig_until(&rig, &ear.ready);
    pen_open(&p, &rig);
    assert_int_equal(tc_writer_start(p.w, "m", "test"), 0);
    pen_say_acknowledged(&p, "a");
    pen_say_acknowledged(&p, "b");
    pen_finish(&p);
    publish_rig_until_true(&rig, heard_four, &ear);
    assert_int_equal(tc_publisher_stats(p.publisher)->announces, 4);
    tc_redis_unsubscribe(rig.redis, &ear.sub);
    pen_close(&p);
}

static void on_any_announcement(void *arg, struct tc_str payload) {
    (void)payload;
    ((struct ear *)arg)->count++;
}

static void writer_refused_entry_is_not_announced(void **state) {
    struct pen p;
    struct ear ear = {.sub = {.on_message = on_any_announcement, .on_ready = on_ear_ready}};
    (void)state;
    ear.sub.arg = &ear;
    assert_int_equal(tc_redis_subscribe(rig.redis, &ear.sub, PEN_BELL), 0);
    publish_rig_until(&rig, &ear.ready);
    pen_open(&p, &rig);
    publish_rig_fence(&rig, PEN_GEN, 99999999);
    pen_say(&p, "a");
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EFENCED);
    publish_rig_run(&rig, 20);
    assert_int_equal(ear.count, 0);
    tc_redis_unsubscribe(rig.redis, &ear.sub);
    pen_close(&p);
}

/* ---- Cancelling */

static void writer_cancel_on_ctl_is_told(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    assert_int_equal(publish_rig_int(&rig, "PUBLISH " PEN_CTL " cancel"), 1);
    publish_rig_until(&rig, &p.cancelled);
    pen_close(&p);
}

static void writer_cancel_flag_is_seen_at_opening_and_check(void **state) {
    struct pen p;
    (void)state;
    publish_rig_do(&rig, "HSET " PEN_META " cancel 1");
    pen_open(&p, &rig);
    assert_true(p.cancelled);
    pen_close(&p);
    publish_rig_do(&rig, "HDEL " PEN_META " cancel");
    pen_open(&p, &rig);
    assert_false(p.cancelled);
    publish_rig_do(&rig, "HSET " PEN_META " cancel 1");
    assert_int_equal(tc_writer_check(p.w), 0);
    publish_rig_until(&rig, &p.cancelled);
    pen_close(&p);
}

/* ---- Closing */

/* After each number of loop turns of a whole life: every stage is met. */
static void writer_close_at_any_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 24; turns++) {
        struct pen p;
        pen_start(&p, &rig, NULL, false);
        for (int i = 0; i < turns; i++) {
            uv_run(&rig.loop, UV_RUN_NOWAIT);
            uv_sleep(1);
            if (p.opened && p.open_err == 0 && !p.ended)
                pen_say(&p, "x");
        }
        pen_close(&p);
    }
}

static void writer_close_while_the_server_hangs_ends_clean(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    kill(rig.pid, SIGSTOP);
    pen_say(&p, "x");
    publish_rig_run(&rig, 20);
    pen_close(&p);
    kill(rig.pid, SIGCONT);
}

static void on_open_closes(void *arg, int err, struct tc_position last, bool ended) {
    struct pen *p = arg;
    (void)last;
    (void)ended;
    assert_int_equal(err, 0);
    tc_writer_close(p->w, pen_on_closed, p);
}

static void writer_close_inside_its_callback_ends_clean(void **state) {
    struct pen p = {0};
    struct tc_writer_callbacks closing = pen_callbacks;
    (void)state;
    closing.on_open = on_open_closes;
    assert_int_equal(tc_publisher_create(&p.publisher, &rig.loop, rig.redis, NULL), 0);
    assert_int_equal(tc_writer_open(&p.w, p.publisher, PEN_GEN, false, NULL, NULL, &closing, &p), 0);
    publish_rig_until(&rig, &p.closed);
    tc_publisher_destroy(p.publisher);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(writer_whole_life_is_a_fenced_log),
        T(writer_sets_expiry_and_hints),
        T(writer_missing_log_is_gone),
        T(writer_create_makes_the_log_once),
        T(writer_attempt_is_after_tail_and_clock),
        T(writer_goes_on_below_many_fences),
        T(writer_merges_what_is_said_during_an_append),
        T(writer_tool_call_without_arguments_is_an_empty_object),
        T(writer_refuses_what_is_not_said_in_time_or_form),
        T(writer_attempt_event_carries_offsets_on),
        T(writer_second_attempt_event_replaces_the_first),
        T(writer_kept_text_counts_against_the_limit),
        T(writer_pressure_stops_and_goes_on),
        T(writer_cadence_gathers_pieces),
        T(writer_announces_each_acknowledged_entry),
        T(writer_refused_entry_is_not_announced),
        T(writer_cancel_on_ctl_is_told),
        T(writer_cancel_flag_is_seen_at_opening_and_check),
        T(writer_close_at_any_turn_ends_clean),
        T(writer_close_while_the_server_hangs_ends_clean),
        T(writer_close_inside_its_callback_ends_clean),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
