/* Reading Redis's eviction counter. */
#include "feed/eviction.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static int64_t count_in(char *text) {
    redisReply reply = {.type = REDIS_REPLY_STRING, .str = text, .len = strlen(text)};
    return eviction_count(&reply);
}

static void eviction_count_is_found_among_other_fields(void **state) {
    (void)state;
    char text[] = "# Stats\r\nexpired_keys:7\r\nevicted_keys:42\r\nother:1\r\n", last[] = "evicted_keys:3";
    assert_int_equal(count_in(text), 42);
    assert_int_equal(count_in(last), 3);
}

static void eviction_count_that_is_missing_or_odd_is_unknown(void **state) {
    (void)state;
    char empty[] = "", none[] = "xevicted_keys:1\r\nevicted_keysx:2\r\n", word[] = "evicted_keys:many\r\n",
         huge[] = "evicted_keys:99999999999999999999\r\n", bare[] = "evicted_keys:\r\n";
    assert_int_equal(count_in(empty), -1);
    assert_int_equal(count_in(none), -1);
    assert_int_equal(count_in(word), -1);
    assert_int_equal(count_in(huge), -1);
    assert_int_equal(count_in(bare), -1);
    redisReply error = {.type = REDIS_REPLY_INTEGER, .integer = 5};
    assert_int_equal(eviction_count(&error), -1);
}

static void eviction_has_struck_only_beyond_a_known_count(void **state) {
    (void)state;
    struct hub hub = {.eviction = {.samples = {5, 8}, .count = 2}};
    assert_true(eviction_has_struck(&hub, 6));
    assert_false(eviction_has_struck(&hub, 5));
    assert_false(eviction_has_struck(&hub, -1));
    hub.eviction.count = 0;
    assert_false(eviction_has_struck(&hub, 6));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eviction_count_is_found_among_other_fields),
        cmocka_unit_test(eviction_count_that_is_missing_or_odd_is_unknown),
        cmocka_unit_test(eviction_has_struck_only_beyond_a_known_count),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
