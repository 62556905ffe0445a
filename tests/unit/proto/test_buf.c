/* The growable buffer: growth, the bound, and the failure that stays. */
#include "base/buf.h"

#include "wire_support.h"

#include <math.h>
#include <stdlib.h>

static void buf_zeroed_fini_accepts(void **state) {
    struct tc_buf b = {0};
    (void)state;
    tc_buf_fini(&b);
    tc_buf_fini(&b);
}

static void buf_appends_keep_order_over_growth(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    for (int i = 0; i < 1000; i++)
        tc_buf_printf(&b, "%03d", i);
    assert_true(tc_buf_ok(&b));
    assert_int_equal(b.len, 3000);
    for (size_t i = 0; i < 1000; i++)
        assert_int_equal((b.data[i * 3] - '0') * 100 + (b.data[i * 3 + 1] - '0') * 10 + b.data[i * 3 + 2] - '0', i);
    tc_buf_fini(&b);
    assert_null(b.data);
}

static void buf_full_to_its_bound_is_ok_and_one_more_fails(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 8);
    tc_buf_puts(&b, "12345678");
    assert_true(tc_buf_ok(&b));
    tc_buf_putc(&b, '9');
    assert_false(tc_buf_ok(&b));
    assert_buf(&b, "12345678");
    tc_buf_fini(&b);
}

static void buf_failed_stays_so_until_reset(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 4);
    tc_buf_puts(&b, "too long");
    tc_buf_puts(&b, "ok");
    assert_false(tc_buf_ok(&b));
    assert_int_equal(b.len, 0);
    tc_buf_reset(&b);
    tc_buf_puts(&b, "ok");
    assert_true(tc_buf_ok(&b));
    assert_buf(&b, "ok");
    tc_buf_fini(&b);
}

static void buf_reserve_of_absurd_size_fails(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_buf_puts(&b, "x");
    assert_null(tc_buf_reserve(&b, SIZE_MAX));
    assert_false(tc_buf_ok(&b));
    tc_buf_fini(&b);
}

static void buf_printf_fills_the_bound_exactly(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 64);
    tc_buf_printf(&b, "%064d", 7);
    assert_true(tc_buf_ok(&b));
    assert_int_equal(b.len, 64);
    tc_buf_printf(&b, "%d", 7);
    assert_false(tc_buf_ok(&b));
    tc_buf_fini(&b);
}

static void buf_numbers_at_their_ends_are_whole(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_buf_put_u64(&b, 0);
    tc_buf_putc(&b, ' ');
    tc_buf_put_u64(&b, UINT64_MAX);
    tc_buf_putc(&b, ' ');
    tc_buf_put_i64(&b, INT64_MIN);
    tc_buf_putc(&b, ' ');
    tc_buf_put_i64(&b, -1);
    assert_buf(&b, "0 18446744073709551615 -9223372036854775808 -1");
    tc_buf_fini(&b);
}

static void buf_double_reads_back_equal(void **state) {
    static const double values[] = {0, 0.1, 1.0 / 3, 1e300, 5e-324, 1790000000123456.0, -2.5, 123456789.125};
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        tc_buf_reset(&b);
        tc_buf_put_double(&b, values[i]);
        tc_buf_putc(&b, '\0');
        assert_true(strtod(b.data, NULL) == values[i]);
    }
    tc_buf_reset(&b);
    tc_buf_put_double(&b, 0.1);
    tc_buf_putc(&b, ' ');
    tc_buf_put_double(&b, (double)INFINITY);
    assert_buf(&b, "0.1 inf");
    tc_buf_fini(&b);
}

static void buf_consume_drops_the_front(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_buf_consume(&b, 0);
    tc_buf_puts(&b, "abcdef");
    tc_buf_consume(&b, 2);
    assert_buf(&b, "cdef");
    tc_buf_consume(&b, 4);
    assert_int_equal(b.len, 0);
    tc_buf_fini(&b);
}

static void buf_take_cstr_ends_with_nul_and_empties(void **state) {
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 64);
    for (int i = 0; i < 64; i++)
        tc_buf_putc(&b, 'x');
    char *s = tc_buf_take_cstr(&b);
    assert_non_null(s);
    assert_int_equal(strlen(s), 64);
    assert_null(b.data);
    assert_int_equal(b.max, 64);
    free(s);
    s = tc_buf_take_cstr(&b);
    assert_string_equal(s, "");
    free(s);
    for (int i = 0; i < 65; i++)
        tc_buf_putc(&b, 'x');
    assert_null(tc_buf_take_cstr(&b));
    assert_int_equal(b.len, 0);
    tc_buf_fini(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buf_zeroed_fini_accepts),
        cmocka_unit_test(buf_appends_keep_order_over_growth),
        cmocka_unit_test(buf_full_to_its_bound_is_ok_and_one_more_fails),
        cmocka_unit_test(buf_failed_stays_so_until_reset),
        cmocka_unit_test(buf_reserve_of_absurd_size_fails),
        cmocka_unit_test(buf_printf_fills_the_bound_exactly),
        cmocka_unit_test(buf_numbers_at_their_ends_are_whole),
        cmocka_unit_test(buf_double_reads_back_equal),
        cmocka_unit_test(buf_consume_drops_the_front),
        cmocka_unit_test(buf_take_cstr_ends_with_nul_and_empties),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
