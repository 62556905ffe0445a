/* Back-off and what the upstream asks for. */
#include "provider/retry.h"

#include <stddef.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define NOW 1790000000 /* Mon, 21 Sep 2026 14:13:20 GMT */

static void seconds_and_dates_are_understood(void **state) {
    (void)state;
    assert_int_equal(retry_asked_ms("2", "", NOW), 2000);
    assert_int_equal(retry_asked_ms("0.5", "", NOW), 500);
    assert_int_equal(retry_asked_ms("Mon, 21 Sep 2026 14:13:50 GMT", "", NOW), 30000);
    assert_int_equal(retry_asked_ms("20", "150", NOW), 150);
}

static void nonsense_and_the_past_ask_for_nothing(void **state) {
    static const char *const bad[] = {"", "soon", "-3", "1x", "nan", "0", "Mon, 21 Sep 2026 14:13:10 GMT", "1e999"};

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(retry_asked_ms(bad[i], "", NOW), 0);
    assert_int_equal(retry_asked_ms("3", "soon", NOW), 3000);
}

static void enormous_wishes_are_capped_at_a_day(void **state) {
    (void)state;
    assert_int_equal(retry_asked_ms("99999999999999", "", NOW), 24 * 3600 * 1000);
}

static void delay_doubles_up_to_its_maximum(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_in_range(retry_delay_ms(1, 100, 1000, 0), 75, 125);
        assert_in_range(retry_delay_ms(2, 100, 1000, 0), 150, 250);
        assert_in_range(retry_delay_ms(3, 100, 1000, 0), 300, 500);
        assert_in_range(retry_delay_ms(60, 100, 1000, 0), 750, 1250);
    }
}

static void delay_asked_for_wins_within_its_cap(void **state) {
    (void)state;
    for (int i = 0; i < 50; i++) {
        assert_in_range(retry_delay_ms(1, 100, 1000, 3000), 3000, 3100);
        assert_int_equal(retry_delay_ms(1, 100, 1000, 3600000), 10000);
    }
}

static void senseless_bounds_still_give_a_delay(void **state) {
    (void)state;
    assert_in_range(retry_delay_ms(5, 0, 0, 0), 1, 2);
    assert_in_range(retry_delay_ms(5, 100, 10, 0), 75, 125);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seconds_and_dates_are_understood),    cmocka_unit_test(nonsense_and_the_past_ask_for_nothing),
        cmocka_unit_test(enormous_wishes_are_capped_at_a_day), cmocka_unit_test(delay_doubles_up_to_its_maximum),
        cmocka_unit_test(delay_asked_for_wins_within_its_cap), cmocka_unit_test(senseless_bounds_still_give_a_delay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
