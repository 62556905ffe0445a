/* Catch-ups shared by those who come at once: what is found, for how long, and the bounds. */
#include "feed/recap.h"

#include "feed_events.h"

#include <stdlib.h>

static struct recap recap;
static struct history h;
static int source;

static struct recap_key key_after(uint64_t seq) {
    return (struct recap_key){.source = &source, .form = {.include = INCLUDE_ALL}, .after = at(3, seq)};
}

static void keep(uint64_t after, uint64_t to, size_t events, const char *text, uint64_t now_ms) {
    const struct recap_key key = key_after(after);
    struct tc_buf out;
    tc_buf_init(&out, 0);
    tc_buf_puts(&out, "before");
    tc_buf_puts(&out, text);
    recap_keep(&recap, &key, &(struct recap_end){.to = at(3, to), .events = events}, &out, 6, now_ms);
    tc_buf_fini(&out);
}

static const struct recap_slot *look(uint64_t after, size_t *index, uint64_t now_ms) {
    const struct recap_key key = key_after(after);
    return recap_find(&recap, &key, &h, index, now_ms);
}

static int with_events(void **state) {
    (void)state;
    recap = (struct recap){0};
    history_init(&h, 1000, 100000);
    for (uint64_t seq = 1; seq <= 200; seq++)
        assert_int_equal(history_push(&h, at(3, seq), TC_STR("four")), 0);
    return 0;
}

static int empty_after(void **state) {
    (void)state;
    recap_fini(&recap);
    recap_fini(&recap); /* accepts zeroed memory */
    history_fini(&h);
    return 0;
}

static void recap_kept_is_found_with_the_events_that_follow(void **state) {
    (void)state;
    size_t index = 0;
    keep(100, 190, 90, "ninety", 5);
    const struct recap_slot *s = look(100, &index, 6);
    assert_non_null(s);
    assert_int_equal(s->bytes.len, 6);
    assert_memory_equal(s->bytes.data, "ninety", 6);
    assert_int_equal(history_at(&h, index)->pos.seq, 191);
}

static void recap_of_another_position_form_or_source_is_not_found(void **state) {
    (void)state;
    size_t index = 0;
    keep(100, 190, 90, "ninety", 5);
    assert_null(look(101, &index, 6));
    struct recap_key key = key_after(100);
    key.form.include = INCLUDE_TEXT;
    assert_null(recap_find(&recap, &key, &h, &index, 6));
    key = key_after(100);
    key.source = &h;
    assert_null(recap_find(&recap, &key, &h, &index, 6));
}

static void recap_that_ends_far_back_is_built_anew(void **state) {
    (void)state;
    size_t index = 0;
    keep(100, 200 - RECAP_AGE - 1, 90, "old", 5);
    assert_null(look(100, &index, 6));
    keep(100, 200 - RECAP_AGE, 90, "new", 5);
    const struct recap_slot *s = look(100, &index, 6);
    assert_non_null(s);
    assert_memory_equal(s->bytes.data, "new", 3);
}

static void recap_of_a_lost_branch_is_not_found(void **state) {
    (void)state;
    size_t index = 0;
    keep(100, 190, 90, "ninety", 5);
    history_clear(&h);
    for (uint64_t seq = 1; seq <= 200; seq++)
        assert_int_equal(history_push(&h, at(4, seq), TC_STR("four")), 0);
    assert_null(look(100, &index, 6));
    keep(110, 190, 90, "ninety", 5);
    recap_forget(&recap, &source);
    assert_null(look(110, &index, 6));
}

static void recap_unused_expires(void **state) {
    (void)state;
    size_t index = 0;
    keep(100, 190, 90, "ninety", 5);
    assert_non_null(look(100, &index, 600));
    recap_expire(&recap, 600 + RECAP_KEEP_MS - 1);
    assert_non_null(look(100, &index, 600));
    recap_expire(&recap, 600 + RECAP_KEEP_MS);
    assert_null(look(100, &index, 600));
}

static void recap_too_small_or_too_large_is_not_kept(void **state) {
    (void)state;
    size_t index = 0;
    keep(100, 190, RECAP_MIN - 1, "few", 5);
    assert_null(look(100, &index, 6));
    char *large = calloc(1, RECAP_BYTES + 2);
    assert_non_null(large);
    memset(large, 'x', RECAP_BYTES + 1);
    keep(100, 190, 90, large, 5);
    free(large);
    assert_null(look(100, &index, 6));
}

static void recap_full_replaces_the_one_used_longest_ago(void **state) {
    (void)state;
    size_t index = 0;
    for (uint64_t i = 0; i < RECAP_SLOTS; i++)
        keep(100 + i, 190, 90, "one", 10 + i);
    assert_non_null(look(100, &index, 100));
    keep(150, 190, 40, "more", 101);
    assert_non_null(look(100, &index, 102));
    assert_null(look(101, &index, 102));
    assert_non_null(look(102, &index, 102));
    assert_non_null(look(150, &index, 102));
}

#define T(name) cmocka_unit_test_setup_teardown(name, with_events, empty_after)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(recap_kept_is_found_with_the_events_that_follow),
        T(recap_of_another_position_form_or_source_is_not_found),
        T(recap_that_ends_far_back_is_built_anew),
        T(recap_of_a_lost_branch_is_not_found),
        T(recap_unused_expires),
        T(recap_too_small_or_too_large_is_not_kept),
        T(recap_full_replaces_the_one_used_longest_ago),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
