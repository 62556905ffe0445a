/* Positions: text form, and order. */
#include "tokencast/position.h"

#include "tokencast/error.h"
#include "wire_support.h"

static void position_parse_reads_what_format_writes(void **state) {
    static const struct tc_position all[] = {{0, 0}, {0, 1}, {37, 44}, {1790000000123456, 9}, {UINT64_MAX, UINT64_MAX}};
    char text[TC_POSITION_MAX];
    struct tc_position back;
    (void)state;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t n = tc_position_format(all[i], text);
        assert_int_equal(n, strlen(text));
        assert_int_equal(tc_position_parse(text, n, &back), 0);
        assert_int_equal(tc_position_cmp(all[i], back), 0);
    }
    assert_string_equal(text, "18446744073709551615-18446744073709551615");
}

static void position_malformed_is_refused_and_leaves_out(void **state) {
    static const char *const bad[] = {"",
                                      "-",
                                      "1",
                                      "1-",
                                      "-1",
                                      "1-2-3",
                                      "01-2",
                                      "1-02",
                                      "+1-2",
                                      "1-+2",
                                      " 1-2",
                                      "1-2 ",
                                      "1 - 2",
                                      "1--2",
                                      "0x1-2",
                                      "1-*",
                                      "*",
                                      "$",
                                      "1.0-2",
                                      "00-0",
                                      "18446744073709551616-0",
                                      "0-18446744073709551616",
                                      "99999999999999999999-1"};
    struct tc_position p = {5, 6};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(tc_position_parse(bad[i], strlen(bad[i]), &p), TC_ESYNTAX);
    assert_int_equal(tc_position_parse("1-2\0", 4, &p), TC_ESYNTAX);
    assert_int_equal(tc_position_parse(NULL, 0, &p), TC_ESYNTAX);
    assert_true(p.attempt == 5 && p.seq == 6);
}

static void position_parse_stops_at_its_length(void **state) {
    struct tc_position p;
    (void)state;
    assert_int_equal(tc_position_parse("12-345", 5, &p), 0);
    assert_true(p.attempt == 12 && p.seq == 34);
}

static void position_order_is_attempt_then_seq(void **state) {
    (void)state;
    assert_true(tc_position_cmp((struct tc_position){1, 9}, (struct tc_position){2, 0}) < 0);
    assert_true(tc_position_cmp((struct tc_position){2, 0}, (struct tc_position){1, 9}) > 0);
    assert_true(tc_position_cmp((struct tc_position){1, 2}, (struct tc_position){1, 3}) < 0);
    assert_true(tc_position_cmp((struct tc_position){1, UINT64_MAX}, (struct tc_position){1, 0}) > 0);
    assert_int_equal(tc_position_cmp((struct tc_position){1, 3}, (struct tc_position){1, 3}), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(position_parse_reads_what_format_writes),
        cmocka_unit_test(position_malformed_is_refused_and_leaves_out),
        cmocka_unit_test(position_parse_stops_at_its_length),
        cmocka_unit_test(position_order_is_attempt_then_seq),
    };
    return cmocka_run_group_tests_name("position", tests, NULL, NULL);
}
