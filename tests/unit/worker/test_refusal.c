/* Redis's error texts. */
#include "publish/refusal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static enum refusal of(char *text) {
    const redisReply reply = {.type = REDIS_REPLY_ERROR, .str = text, .len = strlen(text)};
    return refusal_of(&reply);
}

static void refusal_of_an_id_means_looking_at_the_tail(void **state) {
    char stale[] = "ERR The ID specified in XADD is equal or smaller than the target stream top item";
    char zero[] = "ERR The ID specified in XADD must be greater than 0-0";
    (void)state;
    assert_int_equal(of(stale), REFUSAL_STALE);
    assert_int_equal(of(zero), REFUSAL_FATAL);
}

static void refusal_for_a_while_is_not_fatal(void **state) {
    char oom[] = "OOM command not allowed when used memory > 'maxmemory'.";
    char loading[] = "LOADING Redis is loading the dataset in memory";
    char misconf[] = "MISCONF Redis is configured to save RDB snapshots";
    char busy[] = "BUSY Redis is busy running a script.";
    (void)state;
    assert_int_equal(of(oom), REFUSAL_LATER);
    assert_int_equal(of(loading), REFUSAL_LATER);
    assert_int_equal(of(misconf), REFUSAL_LATER);
    assert_int_equal(of(busy), REFUSAL_LATER);
}

static void refusal_of_another_server_counts_as_a_lost_link(void **state) {
    char readonly[] = "READONLY You can't write against a read only replica.";
    char moved[] = "MOVED 3999 127.0.0.1:6381";
    (void)state;
    assert_int_equal(of(readonly), REFUSAL_MOVED);
    assert_int_equal(of(moved), REFUSAL_MOVED);
}

static void refusal_of_anything_else_is_fatal(void **state) {
    char noperm[] = "NOPERM this user has no permissions";
    char ok[] = "OK";
    const redisReply status = {.type = REDIS_REPLY_STATUS, .str = ok, .len = 2};
    (void)state;
    assert_int_equal(of(noperm), REFUSAL_FATAL);
    assert_int_equal(refusal_of(&status), REFUSAL_NONE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusal_of_an_id_means_looking_at_the_tail),
        cmocka_unit_test(refusal_for_a_while_is_not_fatal),
        cmocka_unit_test(refusal_of_another_server_counts_as_a_lost_link),
        cmocka_unit_test(refusal_of_anything_else_is_fatal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
