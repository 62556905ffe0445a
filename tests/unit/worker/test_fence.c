/* Writers in trouble, against a real Redis: takeovers, lost links, failovers that lose the tail, refusals. */
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

/* ---- Takeover */

static void writer_second_fences_first(void **state) {
    struct pen a, b;
    (void)state;
    pen_open(&a, &rig);
    assert_int_equal(tc_writer_start(a.w, "m", "test"), 0);
    pen_say_acknowledged(&a, "mine");
    pen_open(&b, &rig);
    assert_int_equal(b.last.seq, 3);
    pen_say(&a, " too");
    publish_rig_until(&rig, &a.lost);
    assert_int_equal(a.lost_err, TC_EFENCED);
    assert_int_equal(tc_publisher_stats(a.publisher)->fenced, 1);
    publish_rig_do(&rig, "HSET " PEN_META " state theirs");
    assert_int_equal(tc_writer_text(a.w, TC_KIND_TEXT, 0, TC_STR("x")), TC_ESTATE);
    pen_finish(&b);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN),
                        "1 created \n- fence\n2 start \n3 delta 0 mine\n- fence\n4 done stop\n");
    pen_close(&a);
    pen_close(&b);
}

static void writer_fenced_while_silent_is_told_by_check(void **state) {
    struct pen a, b;
    (void)state;
    pen_open(&a, &rig);
    pen_open(&b, &rig);
    assert_int_equal(tc_writer_check(a.w), 0);
    publish_rig_until(&rig, &a.lost);
    assert_int_equal(a.lost_err, TC_EFENCED);
    assert_true(a.checked && !a.agrees);
    pen_settle(&b);
    pen_close(&a);
    pen_close(&b);
}

static bool one_is_lost(void *arg) {
    struct pen **both = arg;
    return both[0]->lost || both[1]->lost;
}

static void writer_two_at_once_one_wins(void **state) {
    struct pen a, b;
    struct pen *both[] = {&a, &b};
    (void)state;
    pen_start(&a, &rig, NULL, false);
    pen_start(&b, &rig, NULL, false);
    publish_rig_until(&rig, &a.opened);
    publish_rig_until(&rig, &b.opened);
    /* The same millisecond gives both one number: the mark in the fence decides, the other does not try again. */
    if (a.open_err == 0 && b.open_err == 0) {
        pen_say(&a, "a");
        pen_say(&b, "b");
        publish_rig_until_true(&rig, one_is_lost, both);
        assert_true(a.lost != b.lost);
    } else {
        assert_true((a.open_err == 0) != (b.open_err == 0));
        assert_int_equal(a.open_err + b.open_err, TC_EFENCED);
    }
    pen_close(&a);
    pen_close(&b);
}

static void writer_ended_log_gets_no_fence(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_finish(&p);
    pen_close(&p);
    long long length = publish_rig_int(&rig, "XLEN " PEN_LOG);
    pen_open(&p, &rig);
    assert_true(p.ended);
    assert_int_equal(tc_writer_text(p.w, TC_KIND_TEXT, 0, TC_STR("x")), TC_ESTATE);
    pen_settle(&p);
    assert_int_equal(publish_rig_int(&rig, "XLEN " PEN_LOG), length);
    pen_close(&p);
}

static void writer_in_one_publisher_opens_a_generation_once(void **state) {
    struct pen p;
    struct tc_writer *other;
    (void)state;
    pen_open(&p, &rig);
    assert_int_equal(tc_writer_open(&other, p.publisher, PEN_GEN, false, NULL, NULL, &pen_callbacks, &p), TC_EEXISTS);
    assert_int_equal(tc_writer_open(&other, p.publisher, "a b", false, NULL, NULL, &pen_callbacks, &p), TC_EINVAL);
    pen_close(&p);
}

/* ---- Lost links */

static const char *counted_text(int n) {
    static char text[16384];
    size_t len = 0;
    text[0] = '\0';
    for (int i = 0; i < n; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%d ", i);
    return text;
}

static void writer_killed_link_leaves_the_log_whole(void **state) {
    struct pen p;
    char piece[16];
    (void)state;
    pen_open(&p, &rig);
    assert_int_equal(tc_writer_start(p.w, "m", "test"), 0);
    for (int i = 0; i < 300; i++) {
        snprintf(piece, sizeof(piece), "%d ", i);
        pen_say(&p, piece);
        if (i % 60 == 30)
            publish_rig_do(&rig, i % 120 == 30 ? "CLIENT KILL TYPE normal SKIPME yes" : "CLIENT KILL TYPE pubsub");
        uv_run(&rig.loop, UV_RUN_NOWAIT);
    }
    pen_finish(&p);
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), counted_text(300));
    assert_false(p.lost);
    assert_int_equal(p.finishes, 1);
    pen_close(&p);
}

static void writer_hung_server_leaves_the_log_whole(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "before ");
    kill(rig.pid, SIGSTOP);
    pen_say(&p, "during ");
    publish_rig_run(&rig, 300);
    pen_say(&p, "and ");
    publish_rig_run(&rig, 600); /* past the command time-out: the append will still take effect */
    kill(rig.pid, SIGCONT);
    pen_say(&p, "after");
    pen_finish(&p);
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), "before during and after");
    assert_int_equal(p.finishes, 1);
    pen_close(&p);
}

static void writer_waits_for_an_absent_server(void **state) {
    struct pen p;
    (void)state;
    publish_rig_server_kill(&rig);
    publish_rig_run(&rig, 50);
    pen_start(&p, &rig, NULL, true);
    publish_rig_run(&rig, 100);
    assert_false(p.opened);
    publish_rig_server_start(&rig);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(p.open_err, 0);
    pen_finish(&p);
    pen_close(&p);
}

static void writer_deleted_log_is_gone_and_not_recreated(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    publish_rig_do(&rig, "DEL " PEN_LOG);
    pen_say(&p, "b");
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EGONE);
    assert_int_equal(publish_rig_int(&rig, "EXISTS " PEN_LOG), 0);
    pen_close(&p);
}

static void writer_restarted_empty_server_is_gone(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    publish_rig_server_kill(&rig);
    publish_rig_run(&rig, 50);
    publish_rig_server_start(&rig);
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EGONE);
    assert_int_equal(publish_rig_int(&rig, "EXISTS " PEN_LOG), 0);
    pen_close(&p);
}

/* ---- Failovers that lose the tail */

static void writer_lost_tail_is_repeated_under_the_same_ids(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    redisReply *d = pen_dump(&rig);
    pen_say_acknowledged(&p, "b");
    pen_say_acknowledged(&p, "c");
    char before[4096];
    snprintf(before, sizeof(before), "%s", publish_rig_log(&rig, PEN_GEN));
    pen_restore(&rig, d);
    assert_string_not_equal(publish_rig_log(&rig, PEN_GEN), before);
    pen_settle(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN), before);
    assert_int_equal(tc_publisher_stats(p.publisher)->repeated, 2);
    pen_finish(&p);
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), "abc");
    pen_close(&p);
}

static void writer_lost_done_is_repeated_and_told_again(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    redisReply *d = pen_dump(&rig);
    pen_finish(&p);
    pen_restore(&rig, d);
    pen_settle(&p);
    assert_string_equal(publish_rig_log(&rig, PEN_GEN), "1 created \n- fence\n2 delta 0 a\n3 done stop\n");
    assert_int_equal(p.finishes, 2); /* who watches the log begins anew */
    pen_close(&p);
}

static void writer_lost_fence_with_its_base_is_repeated(void **state) {
    struct pen p;
    (void)state;
    redisReply *d = pen_dump(&rig);
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    pen_say_acknowledged(&p, "b");
    pen_restore(&rig, d);
    publish_rig_do(&rig, "CLIENT KILL TYPE normal SKIPME yes");
    pen_say(&p, "c");
    pen_finish(&p);
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), "abc");
    pen_close(&p);
}

static void writer_lost_base_needs_a_new_attempt(void **state) {
    struct pen a, b;
    (void)state;
    redisReply *d = pen_dump(&rig);
    pen_open(&a, &rig);
    pen_say_acknowledged(&a, "a");
    pen_open(&b, &rig);
    pen_say_acknowledged(&b, "b");
    pen_restore(&rig, d);
    assert_int_equal(tc_writer_check(b.w), 0);
    publish_rig_until(&rig, &b.lost);
    assert_int_equal(b.lost_err, TC_EAGAIN);
    pen_close(&a);
    pen_close(&b);
}

static void writer_lost_more_than_the_window_needs_a_new_attempt(void **state) {
    struct pen p;
    const struct tc_publisher_options opts = {.window_bytes = 1};
    (void)state;
    pen_start(&p, &rig, &opts, false);
    publish_rig_until(&rig, &p.opened);
    pen_say_acknowledged(&p, "a");
    redisReply *d = pen_dump(&rig);
    pen_say_acknowledged(&p, "b");
    pen_say_acknowledged(&p, "c");
    pen_restore(&rig, d);
    assert_int_equal(tc_writer_check(p.w), 0);
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EAGAIN);
    pen_close(&p);
}

static void writer_ended_log_that_lost_its_done_needs_a_new_attempt(void **state) {
    struct pen p;
    (void)state;
    redisReply *d = pen_dump(&rig);
    pen_open(&p, &rig);
    pen_finish(&p);
    pen_close(&p);
    pen_open(&p, &rig);
    assert_true(p.ended);
    pen_restore(&rig, d);
    assert_int_equal(tc_writer_check(p.w), 0);
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EAGAIN);
    pen_close(&p);
}

/* A link that outlives the failover: the next entry is accepted over what was lost. */
static void writer_hole_needs_a_new_attempt(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    redisReply *d = pen_dump(&rig);
    pen_say_acknowledged(&p, "b");
    pen_settle(&p);
    pen_restore(&rig, d);
    pen_say_acknowledged(&p, "c");
    assert_int_equal(tc_writer_check(p.w), 0);
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EAGAIN);
    pen_close(&p);
}

static void writer_trimmed_log_goes_on(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    pen_say_acknowledged(&p, "b");
    publish_rig_do(&rig, "XTRIM " PEN_LOG " MAXLEN 2");
    pen_say_acknowledged(&p, "c");
    pen_settle(&p);
    pen_settle(&p);
    assert_false(p.lost);
    pen_finish(&p);
    pen_settle(&p);
    pen_close(&p);
}

/* ---- Refusals */

static void writer_waits_out_a_full_server(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    publish_rig_do(&rig, "CONFIG SET maxmemory 1");
    pen_say(&p, "b");
    publish_rig_run(&rig, 150);
    pen_say(&p, "c");
    assert_false(p.lost);
    assert_true(tc_publisher_stats(p.publisher)->refused > 0);
    publish_rig_do(&rig, "CONFIG SET maxmemory 0");
    pen_finish(&p);
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), "abc");
    pen_close(&p);
}

static void writer_out_of_patience_is_lost(void **state) {
    struct pen p;
    const struct tc_publisher_options opts = {.patience_ms = 100};
    (void)state;
    pen_start(&p, &rig, &opts, false);
    publish_rig_until(&rig, &p.opened);
    publish_rig_do(&rig, "CONFIG SET maxmemory 1");
    pen_say(&p, "b");
    publish_rig_until(&rig, &p.lost);
    assert_int_equal(p.lost_err, TC_EREDIS);
    publish_rig_do(&rig, "CONFIG SET maxmemory 0");
    pen_close(&p);
}

static void writer_key_of_another_type_is_refused(void **state) {
    struct pen p;
    (void)state;
    publish_rig_do(&rig, "DEL " PEN_LOG);
    publish_rig_do(&rig, "SET " PEN_LOG " x");
    pen_start(&p, &rig, NULL, false);
    publish_rig_until(&rig, &p.opened);
    assert_int_equal(p.open_err, TC_EREDIS);
    pen_close(&p);
}

static void writer_read_only_server_is_waited_out(void **state) {
    struct pen p;
    (void)state;
    pen_open(&p, &rig);
    pen_say_acknowledged(&p, "a");
    publish_rig_do(&rig, "REPLICAOF 127.0.0.1 1");
    pen_say(&p, "b");
    publish_rig_run(&rig, 150);
    assert_false(p.lost);
    publish_rig_do(&rig, "REPLICAOF NO ONE");
    pen_finish(&p);
    assert_string_equal(publish_rig_text(&rig, PEN_GEN), "ab");
    pen_close(&p);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(writer_second_fences_first),
        T(writer_fenced_while_silent_is_told_by_check),
        T(writer_two_at_once_one_wins),
        T(writer_ended_log_gets_no_fence),
        T(writer_in_one_publisher_opens_a_generation_once),
        T(writer_killed_link_leaves_the_log_whole),
        T(writer_hung_server_leaves_the_log_whole),
        T(writer_waits_for_an_absent_server),
        T(writer_deleted_log_is_gone_and_not_recreated),
        T(writer_restarted_empty_server_is_gone),
        T(writer_lost_tail_is_repeated_under_the_same_ids),
        T(writer_lost_done_is_repeated_and_told_again),
        T(writer_lost_fence_with_its_base_is_repeated),
        T(writer_lost_base_needs_a_new_attempt),
        T(writer_lost_more_than_the_window_needs_a_new_attempt),
        T(writer_ended_log_that_lost_its_done_needs_a_new_attempt),
        T(writer_hole_needs_a_new_attempt),
        T(writer_trimmed_log_goes_on),
        T(writer_waits_out_a_full_server),
        T(writer_out_of_patience_is_lost),
        T(writer_key_of_another_type_is_refused),
        T(writer_read_only_server_is_waited_out),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
