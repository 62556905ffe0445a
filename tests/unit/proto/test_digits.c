/* Numbers as text, against the C library. */
#include "base/digits.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void check(uint64_t v) {
    char want[TC_DIGITS_MAX + 1], got[TC_DIGITS_MAX + 1];
    int n = snprintf(want, sizeof(want), "%" PRIu64, v);
    memset(got, 'x', sizeof(got));
    assert_int_equal(tc_digits(got, v), n);
    assert_int_equal(got[n], 'x');
    got[n] = '\0';
    assert_string_equal(got, want);
}

static void digits_are_what_printf_says(void **state) {
    (void)state;
    for (uint64_t v = 0; v < 20000; v++)
        check(v);
    for (uint64_t power = 10; power <= UINT64_MAX / 10; power *= 10) {
        check(power - 1);
        check(power);
        check(power + 1);
        check(power / 10 * 37);
    }
    check(UINT64_MAX);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(digits_are_what_printf_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
