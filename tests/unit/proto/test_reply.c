/* redis/reply.h on replies of every shape, the wrong ones most of all. */
#include "redis/reply.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static redisReply *made(const char *resp) {
    void *reply = NULL;
    redisReader *reader = redisReaderCreate();
    assert_int_equal(redisReaderFeed(reader, resp, strlen(resp)), REDIS_OK);
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    assert_non_null(reply);
    redisReaderFree(reader);
    return reply;
}

static void error_prefix_is_a_whole_word(void **state) {
    (void)state;
    redisReply *r = made("-OOM command not allowed\r\n"), *bare = made("-NOAUTH\r\n"), *ok = made("+OOM x\r\n");
    assert_true(tc_reply_is_error(r, NULL));
    assert_true(tc_reply_is_error(r, "OOM"));
    assert_true(tc_reply_is_error(r, "OOM command"));
    assert_false(tc_reply_is_error(r, "OO"));
    assert_false(tc_reply_is_error(r, "NOAUTH"));
    assert_true(tc_reply_is_error(bare, "NOAUTH"));
    assert_false(tc_reply_is_error(bare, "NOAUTHX"));
    assert_false(tc_reply_is_error(ok, NULL));
    assert_false(tc_reply_is_error(NULL, NULL));
    freeReplyObject(r);
    freeReplyObject(bare);
    freeReplyObject(ok);
}

static void str_of_another_type_is_empty(void **state) {
    (void)state;
    static const char *const others[] = {":5\r\n", "$-1\r\n", "*1\r\n$1\r\na\r\n", "*-1\r\n"};
    for (size_t i = 0; i < 4; i++) {
        redisReply *r = made(others[i]);
        assert_int_equal(tc_reply_str(r).n, 0);
        freeReplyObject(r);
    }
    redisReply *r = made("$3\r\na\r\n\r\n");
    assert_true(tc_str_eq(tc_reply_str(r), TC_STR("a\r\n")));
    freeReplyObject(r);
    assert_int_equal(tc_reply_str(NULL).n, 0);
}

static bool int_of(const char *resp, int64_t *out) {
    redisReply *r = made(resp);
    bool ok = tc_reply_int(r, out);
    freeReplyObject(r);
    return ok;
}

static void int_is_taken_from_integers_and_their_text(void **state) {
    (void)state;
    int64_t v = 0;
    assert_true(int_of(":-7\r\n", &v));
    assert_int_equal(v, -7);
    assert_true(int_of("$19\r\n9223372036854775807\r\n", &v));
    assert_true(v == INT64_MAX);
    assert_true(int_of("$20\r\n-9223372036854775808\r\n", &v));
    assert_true(v == INT64_MIN);
    assert_true(int_of("$1\r\n0\r\n", &v));
    assert_int_equal(v, 0);
    static const char *const bad[] = {"$19\r\n9223372036854775808\r\n",
                                      "$20\r\n-9223372036854775809\r\n",
                                      "$0\r\n\r\n",
                                      "$1\r\n-\r\n",
                                      "$2\r\n1 \r\n",
                                      "$2\r\n+1\r\n",
                                      "$3\r\n1.5\r\n",
                                      "$-1\r\n",
                                      "*0\r\n",
                                      "-ERR 1\r\n",
                                      "$21\r\n999999999999999999999\r\n"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(int_of(bad[i], &v));
    assert_false(tc_reply_int(NULL, &v));
}

static void entry_is_read_whatever_its_other_fields(void **state) {
    (void)state;
    redisReply *r = made("*3\r\n"
                         "*2\r\n$4\r\n7-12\r\n*4\r\n$1\r\nx\r\n$1\r\ny\r\n$1\r\ne\r\n$3\r\nabc\r\n"
                         "*2\r\n$3\r\n8-0\r\n*2\r\n$1\r\nf\r\n$1\r\n1\r\n"
                         "*2\r\n$3\r\n8-1\r\n*-1\r\n");
    struct tc_reply_entry e;
    assert_int_equal(tc_reply_entry(r, 0, &e), 0);
    assert_int_equal(e.position.attempt, 7);
    assert_int_equal(e.position.seq, 12);
    assert_true(e.has_e);
    assert_true(tc_str_is(e.e, "abc"));
    assert_int_equal(tc_reply_entry(r, 1, &e), 0);
    assert_false(e.has_e);
    assert_int_equal(e.e.n, 0);
    assert_int_equal(tc_reply_entry(r, 2, &e), 0); /* deleted, as XCLAIM tells it */
    assert_false(e.has_e);
    assert_int_equal(tc_reply_entry(r, 3, &e), TC_EPROTO);
    assert_int_equal(tc_reply_entry(NULL, 0, &e), TC_EPROTO);
    freeReplyObject(r);
}

static void entry_of_the_wrong_shape_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "*1\r\n:1\r\n",
        "*1\r\n*0\r\n",
        "*1\r\n*1\r\n$3\r\n1-1\r\n",
        "*1\r\n*3\r\n$3\r\n1-1\r\n*0\r\n*0\r\n",
        "*1\r\n*2\r\n$3\r\n1-x\r\n*0\r\n",
        "*1\r\n*2\r\n$-1\r\n*0\r\n",
        "*1\r\n*2\r\n:1\r\n*0\r\n",
        "*1\r\n*2\r\n$3\r\n1-1\r\n$1\r\ne\r\n",
        "$1\r\na\r\n",
        "-ERR x\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        redisReply *r = made(bad[i]);
        struct tc_reply_entry e;
        assert_int_equal(tc_reply_entry(r, 0, &e), TC_EPROTO);
        freeReplyObject(r);
    }
}

static void field_is_found_at_even_places_only(void **state) {
    (void)state;
    redisReply *r = made("*5\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n");
    assert_true(tc_str_is(tc_reply_field(r, "a"), "b"));
    assert_true(tc_str_is(tc_reply_field(r, "b"), "c"));
    assert_int_equal(tc_reply_field(r, "c").n, 0);
    assert_int_equal(tc_reply_field(r, "d").n, 0); /* a field without a value */
    assert_int_equal(tc_reply_field(NULL, "a").n, 0);
    freeReplyObject(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_prefix_is_a_whole_word),
        cmocka_unit_test(str_of_another_type_is_empty),
        cmocka_unit_test(int_is_taken_from_integers_and_their_text),
        cmocka_unit_test(entry_is_read_whatever_its_other_fields),
        cmocka_unit_test(entry_of_the_wrong_shape_is_refused),
        cmocka_unit_test(field_is_found_at_even_places_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
