/* Text lengths by kind and index. */
#include "publish/lengths.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void lengths_of_kinds_and_indexes_grow_apart(void **state) {
    struct lengths l = {0};
    uint64_t offset = 99;
    (void)state;
    assert_int_equal(lengths_add(&l, TC_KIND_TEXT, 0, 5, &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(lengths_add(&l, TC_KIND_REASONING, 0, 2, &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(lengths_add(&l, TC_KIND_TEXT, 1, 3, &offset), 0);
    assert_int_equal(offset, 0);
    assert_int_equal(lengths_add(&l, TC_KIND_TEXT, 0, 1, &offset), 0);
    assert_int_equal(offset, 5);
    assert_int_equal(lengths_get(&l, TC_KIND_TEXT, 0), 6);
    assert_int_equal(lengths_get(&l, TC_KIND_REASONING, 0), 2);
    assert_int_equal(lengths_get(&l, TC_KIND_REASONING, 7), 0);
}

static void lengths_past_their_bound_are_refused(void **state) {
    struct lengths l = {0};
    uint64_t offset;
    (void)state;
    for (uint32_t i = 0; i < LENGTHS_MAX; i++)
        assert_int_equal(lengths_add(&l, TC_KIND_TEXT, i, 1, &offset), 0);
    assert_int_equal(lengths_add(&l, TC_KIND_TEXT, LENGTHS_MAX, 1, &offset), TC_ETOOLARGE);
    assert_int_equal(lengths_add(&l, TC_KIND_TEXT, 3, 1, &offset), 0);
    assert_int_equal(offset, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_of_kinds_and_indexes_grow_apart),
        cmocka_unit_test(lengths_past_their_bound_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
