/* The window of written entries. */
#include "publish/window.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define NO_AGE (3600U * 1000000ULL)

static void push(struct window *w, const char *bytes) {
    struct window_entry *e;
    assert_int_equal(window_push(w, tc_str_from(bytes), &e), 0);
    assert_int_equal(e->len, strlen(bytes));
    assert_memory_equal(e->bytes, bytes, e->len);
}

static void window_push_numbers_entries_from_base(void **state) {
    struct window w;
    (void)state;
    window_init(&w, 7, 1000, NO_AGE);
    assert_int_equal(window_last(&w), 7);
    push(&w, "a");
    push(&w, "b");
    assert_int_equal(w.unacked->seq, 8);
    assert_int_equal(window_last(&w), 9);
    window_ack(&w, 1);
    assert_int_equal(w.unacked->seq, 9);
    window_ack(&w, 1);
    assert_null(w.unacked);
    window_fini(&w);
}

static void window_over_max_bytes_drops_oldest_acknowledged(void **state) {
    struct window w;
    (void)state;
    window_init(&w, 0, 5, NO_AGE);
    for (int i = 0; i < 4; i++) {
        push(&w, "abc");
        window_ack(&w, 1);
    }
    assert_int_equal(w.floor, 3);
    assert_int_equal(w.acked_bytes, 3);
    assert_int_equal(window_last(&w), 4);
    window_fini(&w);
}

static void window_never_drops_unacknowledged(void **state) {
    struct window w;
    (void)state;
    window_init(&w, 0, 1, 0);
    push(&w, "long enough");
    push(&w, "and more");
    window_ack(&w, 1000);
    assert_int_equal(w.unacked->seq, 2);
    assert_ptr_equal(w.head, w.unacked);
    assert_memory_equal(w.unacked->bytes, "and more", 8);
    window_fini(&w);
}

static void window_entry_older_than_max_age_is_dropped(void **state) {
    struct window w;
    (void)state;
    window_init(&w, 0, 1000, 100);
    push(&w, "a");
    window_ack(&w, 1000);
    push(&w, "b");
    window_ack(&w, 1050);
    assert_int_equal(w.floor, 0);
    push(&w, "c");
    window_ack(&w, 1101);
    assert_int_equal(w.floor, 1);
    window_fini(&w);
}

static void window_rewind_makes_what_follows_unacknowledged(void **state) {
    struct window w;
    uint64_t repeated;
    (void)state;
    window_init(&w, 10, 1000, NO_AGE);
    push(&w, "a");
    push(&w, "b");
    push(&w, "c");
    window_ack(&w, 1);
    window_ack(&w, 1);
    assert_int_equal(window_rewind(&w, 11, &repeated), 0);
    assert_int_equal(repeated, 1); /* b; c was never acknowledged */
    assert_int_equal(w.unacked->seq, 12);
    assert_memory_equal(w.unacked->bytes, "b", 1);
    assert_int_equal(w.acked_bytes, 1);
    window_ack(&w, 2);
    window_ack(&w, 2);
    assert_null(w.unacked);
    assert_int_equal(w.acked_bytes, 3);
    window_fini(&w);
}

static void window_rewind_to_last_leaves_nothing_to_send(void **state) {
    struct window w;
    uint64_t repeated;
    (void)state;
    window_init(&w, 0, 1000, NO_AGE);
    push(&w, "a");
    assert_int_equal(window_rewind(&w, 1, &repeated), 0);
    assert_null(w.unacked);
    assert_int_equal(window_rewind(&w, 0, &repeated), 0);
    assert_int_equal(w.unacked->seq, 1);
    window_fini(&w);
}

static void window_rewind_before_floor_or_after_last_is_refused(void **state) {
    struct window w;
    uint64_t repeated;
    (void)state;
    window_init(&w, 4, 2, NO_AGE);
    for (int i = 0; i < 3; i++) {
        push(&w, "xx");
        window_ack(&w, 1);
    }
    assert_int_equal(w.floor, 6);
    assert_int_equal(window_rewind(&w, 5, &repeated), TC_ERANGE);
    assert_int_equal(window_rewind(&w, 8, &repeated), TC_ERANGE);
    assert_null(w.unacked);
    assert_int_equal(window_rewind(&w, 6, &repeated), 0);
    assert_int_equal(w.unacked->seq, 7);
    window_fini(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_push_numbers_entries_from_base),
        cmocka_unit_test(window_over_max_bytes_drops_oldest_acknowledged),
        cmocka_unit_test(window_never_drops_unacknowledged),
        cmocka_unit_test(window_entry_older_than_max_age_is_dropped),
        cmocka_unit_test(window_rewind_makes_what_follows_unacknowledged),
        cmocka_unit_test(window_rewind_to_last_leaves_nothing_to_send),
        cmocka_unit_test(window_rewind_before_floor_or_after_last_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
