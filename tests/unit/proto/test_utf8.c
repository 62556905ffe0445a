/* UTF-8 by RFC 3629 and lengths in UTF-16 units. */
#include "base/utf8.h"

#include "wire_support.h"

#define S(literal) TC_STR(literal)

static void utf8_well_formed_is_valid(void **state) {
    (void)state;
    assert_true(tc_utf8_valid(S("")));
    assert_true(tc_utf8_valid((struct tc_str){NULL, 0}));
    assert_true(tc_utf8_valid(S("plain ASCII of more than eight bytes")));
    assert_true(tc_utf8_valid(S("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf")));
    assert_true(tc_utf8_valid(S("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")));
    assert_true(tc_utf8_valid((struct tc_str){"a\0b", 3}));
}

static void utf8_ill_formed_is_not_valid(void **state) {
    static const char *const bad[] = {"\x80",
                                      "\xbf",
                                      "\xc0\x80",
                                      "\xc1\xbf",
                                      "\xe0\x9f\xbf",
                                      "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf",
                                      "\xf4\x90\x80\x80",
                                      "\xf5",
                                      "\xff",
                                      "\xc3",
                                      "\xe2\x82",
                                      "\xf0\x9f\x98",
                                      "\xc3(",
                                      "12345678\xe2\x28",
                                      "abcdefghijk\xf0\x9f("};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(tc_utf8_valid(tc_str_from(bad[i])));
}

/* All code points, by an encoder of its own. */
static size_t encode(unsigned cp, char *out) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    size_t n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (size_t i = n; --i > 0; cp >>= 6)
        out[i] = (char)(0x80 | (cp & 0x3f));
    out[0] = (char)((0xf00u >> n & 0xf0u) | cp);
    return n;
}

static void utf8_every_code_point_is_one_character(void **state) {
    char text[4];
    (void)state;
    for (unsigned cp = 0; cp < 0x110000; cp++) {
        size_t n = encode(cp, text);
        bool surrogate = cp >= 0xd800 && cp < 0xe000;
        struct tc_str s = {text, n};
        assert_int_equal(tc_utf8_valid(s), !surrogate);
        assert_int_equal(tc_utf8_char(s), surrogate ? 0 : n);
        if (!surrogate)
            assert_int_equal(tc_utf16_len(s), cp < 0x10000 ? 1 : 2);
    }
}

static void utf8_complete_holds_back_only_what_may_become_a_character(void **state) {
    (void)state;
    assert_int_equal(tc_utf8_complete(S("")), 0);
    assert_int_equal(tc_utf8_complete(S("abc")), 3);
    assert_int_equal(tc_utf8_complete(S("ab\xc3")), 2);
    assert_int_equal(tc_utf8_complete(S("ab\xc3\xa4")), 4);
    assert_int_equal(tc_utf8_complete(S("ab\xe2\x82")), 2);
    assert_int_equal(tc_utf8_complete(S("\xf0\x9f\x98")), 0);
    assert_int_equal(tc_utf8_complete(S("x\xf0")), 1);
    assert_int_equal(tc_utf8_complete(S("x\xf0\x9f\x98\x80")), 5);
    /* These never become characters. */
    assert_int_equal(tc_utf8_complete(S("x\xff")), 2);
    assert_int_equal(tc_utf8_complete(S("x\xc0")), 2);
    assert_int_equal(tc_utf8_complete(S("x\xed\xa0")), 3);
    assert_int_equal(tc_utf8_complete(S("\x80\x80\x80\x80")), 4);
}

static void utf16_len_counts_pairs_and_broken_bytes(void **state) {
    (void)state;
    assert_int_equal(tc_utf16_len(S("")), 0);
    assert_int_equal(tc_utf16_len(S("hello, world, more than eight")), 29);
    assert_int_equal(tc_utf16_len(S("\xc3\xa4")), 1);
    assert_int_equal(tc_utf16_len(S("\xe2\x82\xac")), 1);
    assert_int_equal(tc_utf16_len(S("\xf0\x9f\x98\x80")), 2);
    assert_int_equal(tc_utf16_len(S("12345678\xf0\x9f\x98\x80"
                                    "12345678")),
                     18);
    assert_int_equal(tc_utf16_len(S("\xf0\x9f\x98")), 3);
    assert_int_equal(tc_utf16_len(S("\xed\xa0\x80")), 3);
}

static void utf16_to_byte_walks_characters(void **state) {
    struct tc_str s = S("a\xc3\xa4\xf0\x9f\x98\x80z");
    (void)state;
    assert_int_equal(tc_utf16_to_byte(s, 0), 0);
    assert_int_equal(tc_utf16_to_byte(s, 1), 1);
    assert_int_equal(tc_utf16_to_byte(s, 2), 3);
    assert_int_equal(tc_utf16_to_byte(s, 3), 3); /* inside the pair: its start */
    assert_int_equal(tc_utf16_to_byte(s, 4), 7);
    assert_int_equal(tc_utf16_to_byte(s, 5), 8);
    assert_int_equal(tc_utf16_to_byte(s, 6), 8);
    assert_int_equal(tc_utf16_to_byte(s, UINT64_MAX), 8);
    assert_int_equal(tc_utf16_to_byte(S("12345678901234567890"), 13), 13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_well_formed_is_valid),
        cmocka_unit_test(utf8_ill_formed_is_not_valid),
        cmocka_unit_test(utf8_every_code_point_is_one_character),
        cmocka_unit_test(utf8_complete_holds_back_only_what_may_become_a_character),
        cmocka_unit_test(utf16_len_counts_pairs_and_broken_bytes),
        cmocka_unit_test(utf16_to_byte_walks_characters),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
