/* The bound on the process's memory. */
#include "ops/memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void memory_resident_grows_with_what_is_touched(void **state) {
    (void)state;
    size_t n = 32U << 20;
    uint64_t before = memory_resident();
    assert_true(before > 0);
    char *block = malloc(n);
    assert_non_null(block);
    memset(block, 1, n);
    assert_true(memory_resident() >= before + n / 2);
    free(block);
    memory_give_back();
}

static void memory_room_ends_at_the_bound_and_comes_back_below_it(void **state) {
    (void)state;
    assert_true(memory_has_room(999, 1000, false));
    assert_false(memory_has_room(1000, 1000, false));
    assert_false(memory_has_room(999, 1000, true));
    assert_false(memory_has_room(950, 1000, true));
    assert_true(memory_has_room(949, 1000, true));
}

static void memory_without_bound_or_figure_has_room(void **state) {
    (void)state;
    assert_true(memory_has_room(UINT64_MAX, 0, false));
    assert_true(memory_has_room(0, 1, false));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_resident_grows_with_what_is_touched),
        cmocka_unit_test(memory_room_ends_at_the_bound_and_comes_back_below_it),
        cmocka_unit_test(memory_without_bound_or_figure_has_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
