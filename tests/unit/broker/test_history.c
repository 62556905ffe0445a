/* The window of recent events: its bounds, and where reading goes on after a position. */
#include "feed/history.h"

#include "feed_events.h"
#include "tokencast/error.h"

static struct history h;

static int push(uint64_t attempt, uint64_t seq, const char *raw) {
    return history_push(&h, at(attempt, seq), tc_str_from(raw));
}

static int push_front(uint64_t attempt, uint64_t seq, const char *raw) {
    return history_push_front(&h, at(attempt, seq), tc_str_from(raw));
}

/* Events first to last of attempt 3. */
static int fill(size_t max_events, size_t max_bytes, uint64_t first, uint64_t last) {
    history_init(&h, max_events, max_bytes);
    for (uint64_t seq = first; seq <= last; seq++)
        assert_int_equal(push(3, seq, "four"), 0);
    return 0;
}

static int empty_after(void **state) {
    (void)state;
    history_fini(&h);
    history_fini(&h); /* accepts zeroed memory */
    return 0;
}

static void assert_seqs(uint64_t first, uint64_t last) {
    assert_int_equal(h.count, last - first + 1);
    size_t bytes = 0;
    for (size_t i = 0; i < h.count; i++) {
        assert_int_equal(history_at(&h, i)->pos.seq, first + i);
        bytes += history_at(&h, i)->len;
    }
    assert_int_equal(h.bytes, bytes);
}

static void assert_place(struct tc_position pos, enum history_place want, size_t want_index) {
    size_t index = 77;
    assert_int_equal(history_after(&h, pos, &index), want);
    if (want == HISTORY_FOUND)
        assert_int_equal(index, want_index);
}

static void history_keeps_as_many_events_as_its_bound(void **state) {
    (void)state;
    fill(5, 1000, 1, 5);
    assert_seqs(1, 5);
    assert_int_equal(push(3, 6, "four"), 0);
    assert_seqs(2, 6);
}

static void history_keeps_as_many_bytes_as_its_bound(void **state) {
    (void)state;
    fill(1000, 20, 1, 5);
    assert_seqs(1, 5);
    assert_int_equal(push(3, 6, "x"), 0);
    assert_seqs(2, 6);
    assert_int_equal(push(3, 7, "xxxx5xxxxx"), 0);
    assert_seqs(4, 7);
}

static void history_keeps_the_newest_beyond_any_bound(void **state) {
    (void)state;
    fill(1000, 20, 1, 5);
    assert_int_equal(push(3, 6, "a single event that is larger than the bound"), 0);
    assert_seqs(6, 6);
    assert_int_equal(push(3, 7, "four"), 0);
    assert_seqs(7, 7);
}

static void history_copies_what_it_is_given(void **state) {
    (void)state;
    char raw[] = "abc";
    history_init(&h, 4, 100);
    assert_int_equal(push(3, 1, raw), 0);
    raw[0] = 'X';
    assert_int_equal(history_push(&h, at(3, 2), (struct tc_str){NULL, 0}), 0);
    assert_memory_equal(history_at(&h, 0)->bytes, "abc", 3);
    assert_int_equal(history_at(&h, 1)->len, 0);
}

static void history_grown_backwards_stops_at_its_bounds(void **state) {
    (void)state;
    history_init(&h, 40, 1000);
    for (uint64_t seq = 100; seq > 60; seq--)
        assert_int_equal(push_front(3, seq, "four"), 0);
    assert_int_equal(push_front(3, 60, "four"), TC_EFULL);
    assert_seqs(61, 100);
    history_fini(&h);
    history_init(&h, 40, 10);
    assert_int_equal(push_front(3, 9, "larger than the bound"), 0);
    assert_int_equal(push_front(3, 8, ""), TC_EFULL);
    assert_seqs(9, 9);
}

static void history_grown_at_both_ends_stays_in_order(void **state) {
    (void)state;
    history_init(&h, 100, 10000);
    for (uint64_t i = 0; i < 45; i++) {
        assert_int_equal(push(3, 50 + i, "four"), 0);
        assert_int_equal(push_front(3, 49 - i, "xx"), 0);
    }
    assert_seqs(5, 94);
}

static void history_after_finds_the_next_event(void **state) {
    (void)state;
    fill(100, 10000, 10, 20);
    assert_place(at(3, 10), HISTORY_FOUND, 1);
    assert_place(at(3, 15), HISTORY_FOUND, 6);
    assert_place(at(3, 20), HISTORY_FOUND, 11);
}

static void history_after_before_its_first_event_is_older(void **state) {
    (void)state;
    fill(100, 10000, 10, 20);
    assert_place(at(0, 0), HISTORY_OLDER, 0);
    assert_place(at(3, 8), HISTORY_OLDER, 0);
    assert_place(at(3, 9), HISTORY_OLDER, 0); /* whether 9 was on this branch is not known */
    assert_place(at(7, 9), HISTORY_OLDER, 0);
}

static void history_after_beyond_its_newest_is_newer(void **state) {
    (void)state;
    fill(100, 10000, 10, 20);
    assert_place(at(3, 21), HISTORY_NEWER, 0);
    assert_place(at(2, 21), HISTORY_NEWER, 0);
    assert_place(at(3, UINT64_MAX - 1), HISTORY_NEWER, 0);
    assert_place(at(3, UINT64_MAX), HISTORY_NEWER, 0);
}

static void history_after_of_another_branch_is_foreign(void **state) {
    (void)state;
    fill(100, 10000, 10, 20);
    assert_int_equal(push(5, 21, "four"), 0);
    assert_place(at(2, 10), HISTORY_FOREIGN, 0);
    assert_place(at(4, 20), HISTORY_FOREIGN, 0);
    assert_place(at(3, 21), HISTORY_FOREIGN, 0);
    assert_place(at(3, 20), HISTORY_FOUND, 11);
    assert_place(at(5, 21), HISTORY_FOUND, 12);
}

static void history_whole_log_is_found_from_its_start(void **state) {
    (void)state;
    fill(100, 10000, 1, 3);
    assert_place(at(0, 0), HISTORY_FOUND, 0);
    assert_place(at(1, 0), HISTORY_OLDER, 0);
}

static void history_empty_knows_nothing(void **state) {
    (void)state;
    fill(100, 10000, 1, 3);
    history_clear(&h);
    assert_int_equal(h.count, 0);
    assert_int_equal(h.bytes, 0);
    assert_place(at(0, 0), HISTORY_OLDER, 0);
    assert_place(at(3, 3), HISTORY_OLDER, 0);
    assert_int_equal(push(4, 9, "four"), 0);
    assert_seqs(9, 9);
}

/* What event seq says: its length and bytes follow from its number. */
static struct tc_str words_of(uint64_t seq, char room[static 3000]) {
    size_t n = seq % 17 == 0 ? 2000 + seq % 1000 : seq % 90;
    memset(room, (int)('a' + seq % 26), n);
    return (struct tc_str){room, n};
}

static void history_of_many_sizes_keeps_every_byte(void **state) {
    (void)state;
    char room[3000];
    history_init(&h, 300, 40000);
    for (uint64_t seq = 5000; seq > 4900; seq--)
        assert_int_equal(history_push_front(&h, at(3, seq), words_of(seq, room)), 0);
    for (uint64_t seq = 5001; seq < 9000; seq++) {
        assert_int_equal(history_push(&h, at(3, seq), words_of(seq, room)), 0);
        assert_seqs(seq + 1 - h.count, seq);
        for (size_t i = 0; i < h.count; i++) {
            const struct entry *e = history_at(&h, i);
            struct tc_str words = words_of(e->pos.seq, room);
            assert_int_equal(e->len, words.n);
            assert_memory_equal(e->bytes, room, words.n);
        }
        assert_true(h.count <= 300 && h.bytes <= 40000);
        assert_true(h.count >= 300 - 300 / 16 || h.bytes + 3000 > 40000 - 40000 / 16 || seq < 5300);
        assert_true(h.memory < 100000); /* what was dropped is given back */
    }
    history_clear(&h);
    assert_int_equal(h.memory, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(history_keeps_as_many_events_as_its_bound, empty_after),
        cmocka_unit_test_teardown(history_keeps_as_many_bytes_as_its_bound, empty_after),
        cmocka_unit_test_teardown(history_keeps_the_newest_beyond_any_bound, empty_after),
        cmocka_unit_test_teardown(history_copies_what_it_is_given, empty_after),
        cmocka_unit_test_teardown(history_grown_backwards_stops_at_its_bounds, empty_after),
        cmocka_unit_test_teardown(history_grown_at_both_ends_stays_in_order, empty_after),
        cmocka_unit_test_teardown(history_after_finds_the_next_event, empty_after),
        cmocka_unit_test_teardown(history_after_before_its_first_event_is_older, empty_after),
        cmocka_unit_test_teardown(history_after_beyond_its_newest_is_newer, empty_after),
        cmocka_unit_test_teardown(history_after_of_another_branch_is_foreign, empty_after),
        cmocka_unit_test_teardown(history_whole_log_is_found_from_its_start, empty_after),
        cmocka_unit_test_teardown(history_empty_knows_nothing, empty_after),
        cmocka_unit_test_teardown(history_of_many_sizes_keeps_every_byte, empty_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
