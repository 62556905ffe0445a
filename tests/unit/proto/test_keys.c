/* Names in Redis, ids. */
#include "wire/keys.h"

#include "wire_support.h"

static void keys_are_as_the_protocol_says(void **state) {
    char k[TC_KEY_MAX];
    (void)state;
    assert_int_equal(tc_key_gen(k, "tc:", TC_KEY_LOG, "g1"), strlen("tc:{g1}:log"));
    assert_string_equal(k, "tc:{g1}:log");
    tc_key_gen(k, "tc:", TC_KEY_META, "g1");
    assert_string_equal(k, "tc:{g1}:meta");
    tc_key_gen(k, "tc:", TC_KEY_VIEWERS, "g1");
    assert_string_equal(k, "tc:{g1}:viewers");
    tc_key_gen(k, "tc:", TC_KEY_BELL, "g1");
    assert_string_equal(k, "tc:{g1}:bell");
    tc_key_gen(k, "x/", TC_KEY_CTL, "g1");
    assert_string_equal(k, "x/{g1}:ctl");
    tc_key_jobs(k, "tc:", NULL);
    assert_string_equal(k, "tc:jobs");
    tc_key_jobs(k, "tc:", "");
    assert_string_equal(k, "tc:jobs");
    tc_key_jobs(k, "tc:", "fast");
    assert_string_equal(k, "tc:jobs:fast");
    tc_key_channel(k, "tc:", "room42", false);
    assert_string_equal(k, "tc:chan:{room42}:log");
    tc_key_channel(k, "tc:", "room42", true);
    assert_string_equal(k, "tc:chan:{room42}:bell");
    tc_key_secret(k, "tc:");
    assert_string_equal(k, "tc:secret");
    tc_key_epoch(k, "tc:");
    assert_string_equal(k, "tc:epoch");
}

static void keys_of_the_longest_names_fit(void **state) {
    char k[TC_KEY_MAX], prefix[TC_PREFIX_MAX + 1], id[TC_ID_MAX + 1];
    (void)state;
    memset(prefix, 'p', TC_PREFIX_MAX);
    memset(id, 'i', TC_ID_MAX);
    prefix[TC_PREFIX_MAX] = id[TC_ID_MAX] = '\0';
    assert_true(tc_key_gen(k, prefix, TC_KEY_VIEWERS, id) < TC_KEY_MAX);
    assert_true(tc_key_channel(k, prefix, id, true) < TC_KEY_MAX);
    assert_true(tc_key_jobs(k, prefix, id) < TC_KEY_MAX);
}

static void id_foreign_is_refused(void **state) {
    char longest[TC_ID_MAX + 1];
    (void)state;
    memset(longest, 'a', sizeof(longest));
    assert_true(tc_id_valid((struct tc_str){longest, TC_ID_MAX}));
    assert_false(tc_id_valid((struct tc_str){longest, TC_ID_MAX + 1}));
    assert_true(tc_id_valid(TC_STR("aZ09_-")));
    assert_false(tc_id_valid(TC_STR("")));
    assert_false(tc_id_valid(TC_STR("a b")));
    assert_false(tc_id_valid(TC_STR("a}b")));
    assert_false(tc_id_valid(TC_STR("a/b")));
    assert_false(tc_id_valid(TC_STR("\xc3\xa4")));
    assert_false(tc_id_valid((struct tc_str){"a\0", 2}));
}

static void prefix_with_braces_or_spaces_is_refused(void **state) {
    (void)state;
    assert_true(tc_prefix_valid(TC_STR("tc:")));
    assert_true(tc_prefix_valid(TC_STR("12345678901234567890123456789012")));
    assert_false(tc_prefix_valid(TC_STR("123456789012345678901234567890123")));
    assert_false(tc_prefix_valid(TC_STR("")));
    assert_false(tc_prefix_valid(TC_STR("a{b")));
    assert_false(tc_prefix_valid(TC_STR("a}b")));
    assert_false(tc_prefix_valid(TC_STR("a b")));
    assert_false(tc_prefix_valid(TC_STR("a\"b")));
    assert_false(tc_prefix_valid(TC_STR("a\nb")));
    assert_false(tc_prefix_valid(TC_STR("\xc3\xa4")));
}

static void id_made_is_valid_and_never_the_same(void **state) {
    char a[TC_ID_MAX + 1], b[TC_ID_MAX + 1];
    (void)state;
    tc_id_make(a);
    tc_id_make(b);
    assert_int_equal(strlen(a), 26);
    assert_memory_equal(a, "gen_", 4);
    assert_true(tc_id_valid(tc_str_from(a)));
    assert_string_not_equal(a, b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_as_the_protocol_says),
        cmocka_unit_test(keys_of_the_longest_names_fit),
        cmocka_unit_test(id_foreign_is_refused),
        cmocka_unit_test(prefix_with_braces_or_spaces_is_refused),
        cmocka_unit_test(id_made_is_valid_and_never_the_same),
    };
    return cmocka_run_group_tests_name("keys", tests, NULL, NULL);
}
