/* Tool calls as they grow. */
#include "publish/tool.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static bool finish_is_invalid(const char *const *pieces) {
    struct tools t = {0};
    uint64_t offset;
    bool invalid = false;
    for (; *pieces; pieces++)
        assert_int_equal(tools_append(&t, 3, tc_str_from(*pieces), &offset), 0);
    assert_int_equal(tools_finish(&t, 3, &invalid), 0);
    tools_fini(&t);
    return invalid;
}

static void tool_arguments_in_pieces_are_valid_when_whole(void **state) {
    (void)state;
    assert_false(finish_is_invalid((const char *const[]){"{\"a\"", ":[1,", "2]}", NULL}));
    assert_false(finish_is_invalid((const char *const[]){"null", NULL}));
}

static void tool_arguments_that_are_not_json_are_invalid(void **state) {
    (void)state;
    assert_true(finish_is_invalid((const char *const[]){"{\"a\":", NULL}));
    assert_true(finish_is_invalid((const char *const[]){"", NULL}));
    assert_true(finish_is_invalid((const char *const[]){"{} {}", NULL}));
}

static void tool_offsets_count_utf16_units_by_index(void **state) {
    struct tools t = {0};
    uint64_t offset;
    (void)state;
    assert_int_equal(tools_append(&t, 0, TC_STR("a\xf0\x9f\x98\x80"), &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(tools_append(&t, 1, TC_STR("xy"), &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(tools_append(&t, 0, TC_STR("z"), &offset), 0);
    assert_int_equal(offset, 3);
    assert_int_equal(tools_append(&t, 1, TC_STR("z"), &offset), 0);
    assert_int_equal(offset, 2);
    assert_false(tools_is_empty(&t, 0));
    assert_true(tools_is_empty(&t, 9));
    tools_fini(&t);
}

static void tool_after_done_takes_no_more(void **state) {
    struct tools t = {0};
    uint64_t offset;
    bool invalid;
    (void)state;
    assert_int_equal(tools_append(&t, 0, TC_STR("{}"), &offset), 0);
    assert_int_equal(tools_finish(&t, 0, &invalid), 0);
    assert_int_equal(tools_append(&t, 0, TC_STR(" "), &offset), TC_ESTATE);
    tools_fini(&t);
}

static void tool_past_its_bounds_is_refused(void **state) {
    struct tools t = {0};
    uint64_t offset;
    (void)state;
    for (uint32_t i = 0; i < TOOLS_MAX; i++)
        assert_int_equal(tools_append(&t, i, TC_STR("1"), &offset), 0);
    assert_int_equal(tools_append(&t, TOOLS_MAX, TC_STR("1"), &offset), TC_ETOOLARGE);
    char *big = malloc(TOOL_ARGUMENTS_MAX);
    assert_non_null(big);
    memset(big, '1', TOOL_ARGUMENTS_MAX);
    assert_int_equal(tools_append(&t, 0, (struct tc_str){big, TOOL_ARGUMENTS_MAX}, &offset), TC_ETOOLARGE);
    assert_int_equal(tools_append(&t, 0, (struct tc_str){big, TOOL_ARGUMENTS_MAX - 1}, &offset), 0);
    free(big);
    tools_fini(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tool_arguments_in_pieces_are_valid_when_whole),
        cmocka_unit_test(tool_arguments_that_are_not_json_are_invalid),
        cmocka_unit_test(tool_offsets_count_utf16_units_by_index),
        cmocka_unit_test(tool_after_done_takes_no_more),
        cmocka_unit_test(tool_past_its_bounds_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
