/* redis/words.h: the words are those that hiredis makes of the same format and arguments. */
#include "redis/words.h"
#include "tokencast/error.h"

#include <hiredis/hiredis.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int read_words(struct tc_words *w, const char *format, ...) {
    va_list ap;
    va_start(ap, format);
    int rc = tc_words(w, format, ap);
    va_end(ap);
    return rc;
}

static void assert_as_hiredis(const char *format, ...) {
    struct tc_words w;
    char *wanted, *got;
    va_list ap;
    va_start(ap, format);
    int wanted_len = redisvFormatCommand(&wanted, format, ap);
    va_end(ap);
    va_start(ap, format);
    assert_int_equal(tc_words(&w, format, ap), 0);
    va_end(ap);
    int len = redisFormatCommandArgv(&got, w.argc, w.argv, w.len);
    assert_int_equal(len, wanted_len);
    assert_memory_equal(got, wanted, (size_t)len);
    redisFreeCommand(got);
    redisFreeCommand(wanted);
}

static void words_are_those_of_hiredis(void **state) {
    static const char bytes[] = "a b\0\r\n%s";
    (void)state;
    assert_as_hiredis("TIME");
    assert_as_hiredis("  XLEN   %s ", "key with spaces %d");
    assert_as_hiredis("SET %s %b NX", "k", bytes, sizeof bytes);
    assert_as_hiredis("SET %s %b NX", "", bytes, (size_t)0);
    assert_as_hiredis("XRANGE %s (%s %s COUNT %d", "k", "1-2", "+", 100);
    assert_as_hiredis("%d %d %d", INT_MIN, -1, INT_MAX);
    assert_as_hiredis("%u %u", 0U, UINT_MAX);
    assert_as_hiredis("%lld %lld %lld", LLONG_MIN, 0LL, LLONG_MAX);
    assert_as_hiredis("%llu %llu", 0ULL, ULLONG_MAX);
    assert_as_hiredis("a%sb%dc%lld%b e", "", 12, -34LL, bytes, sizeof bytes);
    assert_as_hiredis("%s%s %d%d", "x", "y", 1, 2);
}

static void text_of_one_part_is_not_copied(void **state) {
    struct tc_words w;
    char *large = calloc(1, 1 << 20);
    (void)state;
    assert_non_null(large);
    assert_int_equal(read_words(&w, "XADD %s %b", "k", large, (size_t)1 << 20), 0);
    assert_int_equal(w.argc, 3);
    assert_ptr_equal(w.argv[2], large);
    assert_int_equal(w.used, 0);
    free(large);
    assert_int_equal(read_words(&w, "SET %s %b", "k", NULL, (size_t)0), 0);
    assert_non_null(w.argv[2]); /* hiredis copies from there */
}

static void unknown_conversions_are_refused(void **state) {
    static const char *const formats[] = {"",         "   ",      "GET %",  "GET %x", "GET %ld",
                                          "GET %lls", "GET %llb", "GET a%", "%%"};
    struct tc_words w;
    (void)state;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        assert_int_equal(read_words(&w, formats[i], 1LL, 2LL), TC_EINVAL);
}

static void bounds_hold(void **state) {
    char format[2 * (TC_WORDS_MAX + 1) + 1] = "", text[TC_WORDS_ROOM + 1];
    struct tc_words w;
    (void)state;
    for (size_t i = 0; i < 2 * TC_WORDS_MAX; i++)
        format[i] = i % 2 == 0 ? 'a' : ' ';
    assert_int_equal(read_words(&w, format), 0);
    assert_int_equal(w.argc, TC_WORDS_MAX);
    format[2 * TC_WORDS_MAX] = 'a';
    assert_int_equal(read_words(&w, format), TC_EINVAL);
    memset(text, 'x', TC_WORDS_ROOM);
    text[TC_WORDS_ROOM - 3] = '\0';
    assert_int_equal(read_words(&w, "(%s %d", text, 12), 0);
    assert_int_equal(w.used, TC_WORDS_ROOM);
    assert_int_equal(read_words(&w, "(%s %d", text, 123), TC_EINVAL);
    assert_int_equal(read_words(&w, "(%s%s", text, "xxx"), TC_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_are_those_of_hiredis),
        cmocka_unit_test(text_of_one_part_is_not_copied),
        cmocka_unit_test(unknown_conversions_are_refused),
        cmocka_unit_test(bounds_hold),
    };
    return cmocka_run_group_tests_name("redis_words", tests, NULL, NULL);
}
