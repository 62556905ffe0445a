/* The length of the job queue against a real Redis: known, not known, and closing. */
#include "run/backlog.h"

#include "publish_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct publish_rig rig;
static struct backlog backlog;

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

static void assert_counts(int64_t waiting, int64_t taken) {
    struct backlog_counts c;
    redisReply *groups = publish_rig_command(&rig, "XINFO GROUPS tc:jobs");
    backlog_read(groups, &c);
    freeReplyObject(groups);
    assert_int_equal(c.waiting, waiting);
    assert_int_equal(c.taken, taken);
}

static void take(void) {
    publish_rig_do(&rig, "XREADGROUP GROUP workers w COUNT 1 STREAMS tc:jobs >");
}

static void finish(const char *job) {
    publish_rig_do(&rig, "XACK tc:jobs workers %s", job);
    publish_rig_do(&rig, "XDEL tc:jobs %s", job);
}

static void backlog_counts_what_waits_and_what_is_taken(void **state) {
    (void)state;
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs others 0 MKSTREAM");
    publish_rig_do(&rig, "XADD tc:jobs 1-0 gen a");
    assert_counts(-1, -1); /* no worker has come yet */
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0");
    publish_rig_do(&rig, "XADD tc:jobs 2-0 gen b");
    publish_rig_do(&rig, "XADD tc:jobs 3-0 gen c");
    assert_counts(3, 0);
    take();
    assert_counts(2, 1);
    finish("1-0");
    assert_counts(2, 0);
    take();
    take();
    assert_counts(0, 2);
}

static void backlog_that_redis_cannot_count_is_not_known(void **state) {
    (void)state;
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs workers 0 MKSTREAM");
    publish_rig_do(&rig, "XADD tc:jobs 1-0 gen a");
    publish_rig_do(&rig, "XADD tc:jobs 2-0 gen b");
    take();
    take();
    finish("2-0"); /* the later one first */
    publish_rig_do(&rig, "XADD tc:jobs 3-0 gen c");
    assert_counts(-1, 1);
}

static void backlog_of_another_answer_is_not_known(void **state) {
    static redisReply integer = {.type = REDIS_REPLY_INTEGER, .integer = 7};
    static char text[] = "name";
    static redisReply name = {.type = REDIS_REPLY_STRING, .str = text, .len = 4};
    static redisReply *odd[] = {&name};
    static redisReply group = {.type = REDIS_REPLY_ARRAY, .elements = 1, .element = odd};
    static redisReply *rows[] = {&integer, &group};
    static redisReply groups = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = rows};
    struct backlog_counts c = {1, 1};
    (void)state;
    backlog_read(&integer, &c);
    assert_int_equal(c.waiting, -1);
    backlog_read(&groups, &c);
    assert_int_equal(c.taken, -1);
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static void close_backlog(void) {
    bool closed = false;
    backlog_close(&backlog, on_closed, &closed);
    assert_false(closed);
    publish_rig_until(&rig, &closed);
}

static bool is_known(void *arg) {
    (void)arg;
    return backlog.counts.waiting >= 0;
}

static void backlog_is_asked_for_by_itself(void **state) {
    (void)state;
    publish_rig_do(&rig, "XGROUP CREATE tc:jobs:q workers 0 MKSTREAM");
    publish_rig_do(&rig, "XADD tc:jobs:q * gen a");
    backlog_start(&backlog, &rig.loop, rig.redis, "tc:", "q");
    assert_int_equal(backlog.counts.waiting, -1);
    publish_rig_until_true(&rig, is_known, NULL);
    assert_int_equal(backlog.counts.waiting, 1);
    assert_int_equal(backlog.counts.taken, 0);
    close_backlog();
}

static bool is_asking(void *arg) {
    (void)arg;
    return backlog.asking;
}

static void backlog_closes_at_every_stage(void **state) {
    (void)state;
    backlog_start(&backlog, &rig.loop, rig.redis, "tc:", "");
    close_backlog(); /* before the first question */
    publish_rig_do(&rig, "CLIENT PAUSE 1500 ALL");
    backlog_start(&backlog, &rig.loop, rig.redis, "tc:", "");
    publish_rig_until_true(&rig, is_asking, NULL);
    close_backlog(); /* before the answer */
}

static bool is_unknown(void *arg) {
    return !is_known(arg);
}

static void backlog_of_a_lost_redis_is_not_known(void **state) {
    (void)state;
    backlog_start(&backlog, &rig.loop, rig.redis, "tc:", "");
    backlog.counts = (struct backlog_counts){3, 3}; /* as an answer would have it */
    publish_rig_server_kill(&rig);
    publish_rig_until_true(&rig, is_unknown, NULL);
    close_backlog();
    publish_rig_server_start(&rig);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(backlog_counts_what_waits_and_what_is_taken),
        T(backlog_that_redis_cannot_count_is_not_known),
        T(backlog_of_another_answer_is_not_known),
        T(backlog_is_asked_for_by_itself),
        T(backlog_closes_at_every_stage),
        T(backlog_of_a_lost_redis_is_not_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
