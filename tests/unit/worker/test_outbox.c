/* What waits to become entries: merging, cadence, splitting. */
#include "publish/outbox.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tc_buf entry;

static struct tc_event take(struct outbox *o) {
    struct tc_event ev;
    assert_false(outbox_is_empty(o));
    assert_int_equal(outbox_peek(o, &entry), 0);
    outbox_drop(o);
    assert_int_equal(tc_event_decode(entry.data, entry.len, &ev), 0);
    return ev;
}

static void text(struct outbox *o, uint64_t offset, const char *s, uint64_t now_us) {
    assert_int_equal(outbox_text(o, TC_KIND_TEXT, 0, offset, tc_str_from(s), 1000 + (int64_t)now_us, now_us), 0);
}

static void tool(struct outbox *o, uint64_t index, const char *id, const char *arguments, bool done) {
    struct tc_event ev = {.type = TC_EV_TOOL_CALL, .at = 1, .index = index, .done = done};
    ev.id = tc_str_from(id);
    ev.arguments = tc_str_from(arguments);
    assert_int_equal(outbox_tool(o, &ev), 0);
}

static void assert_str(struct tc_str s, const char *expected) {
    assert_int_equal(s.n, strlen(expected));
    assert_memory_equal(s.p, expected, s.n);
}

static void outbox_adjacent_text_becomes_one_entry(void **state) {
    struct outbox o;
    (void)state;
    outbox_init(&o, 1, 0);
    text(&o, 5, "a", 10);
    text(&o, 6, "b", 20);
    text(&o, 7, "c", 30);
    assert_int_equal(o.bytes, 3);
    struct tc_event ev = take(&o);
    assert_int_equal(ev.type, TC_EV_DELTA);
    assert_str(ev.text, "abc");
    assert_int_equal(ev.offset, 5);
    assert_int_equal(ev.at, 1010);
    assert_true(outbox_is_empty(&o));
    assert_int_equal(o.bytes, 0);
    outbox_fini(&o);
}

static void outbox_kind_or_index_between_separates_entries(void **state) {
    struct outbox o;
    (void)state;
    outbox_init(&o, 1, 0);
    text(&o, 0, "a", 1);
    assert_int_equal(outbox_text(&o, TC_KIND_REASONING, 0, 0, TC_STR("r"), 1, 1), 0);
    text(&o, 1, "b", 1);
    assert_int_equal(outbox_text(&o, TC_KIND_TEXT, 1, 0, TC_STR("i"), 1, 1), 0);
    assert_str(take(&o).text, "a");
    struct tc_event ev = take(&o);
    assert_str(ev.text, "r");
    assert_int_equal(ev.kind, TC_KIND_REASONING);
    assert_str(take(&o).text, "b");
    ev = take(&o);
    assert_int_equal(ev.index, 1);
    assert_true(outbox_is_empty(&o));
    outbox_fini(&o);
}

static void outbox_event_keeps_its_place(void **state) {
    struct outbox o;
    struct tc_event note = {.type = TC_EV_NOTE, .at = 1, .kind_name = TC_STR("status"), .text = TC_STR("searching")};
    (void)state;
    outbox_init(&o, 1, 0);
    text(&o, 0, "a", 1);
    assert_int_equal(outbox_event(&o, &note), 0);
    text(&o, 1, "b", 1);
    assert_str(take(&o).text, "a");
    assert_int_equal(take(&o).type, TC_EV_NOTE);
    assert_str(take(&o).text, "b");
    outbox_fini(&o);
}

static void outbox_tool_pieces_of_one_call_merge(void **state) {
    struct outbox o;
    (void)state;
    outbox_init(&o, 1, 0);
    tool(&o, 0, "call_1", "", false);
    tool(&o, 0, "", "{\"a\":", false);
    tool(&o, 0, "", "1}", true);
    tool(&o, 1, "call_2", "{}", true);
    struct tc_event ev = take(&o);
    assert_str(ev.id, "call_1");
    assert_str(ev.arguments, "{\"a\":1}");
    assert_true(ev.done);
    ev = take(&o);
    assert_int_equal(ev.index, 1);
    assert_true(outbox_is_empty(&o));
    outbox_fini(&o);
}

static void outbox_tool_after_done_does_not_merge(void **state) {
    struct outbox o;
    (void)state;
    outbox_init(&o, 1, 0);
    tool(&o, 0, "a", "{}", true);
    tool(&o, 0, "b", "{}", true);
    assert_str(take(&o).id, "a");
    assert_str(take(&o).id, "b");
    outbox_fini(&o);
}

static void outbox_cadence_waits_for_pieces_or_time(void **state) {
    struct outbox o;
    (void)state;
    outbox_init(&o, 3, 1000);
    text(&o, 0, "first", 0);
    assert_int_equal(outbox_wait(&o, 0), 0); /* the first text of all never waits */
    (void)take(&o);
    text(&o, 5, "a", 100);
    assert_int_equal(outbox_wait(&o, 100), 1000);
    text(&o, 6, "b", 600);
    assert_int_equal(outbox_wait(&o, 600), 500);
    assert_int_equal(outbox_wait(&o, 1100), 0);
    text(&o, 7, "c", 700);
    assert_int_equal(outbox_wait(&o, 700), 0);
    outbox_fini(&o);
}

static void outbox_text_with_something_behind_does_not_wait(void **state) {
    struct outbox o;
    struct tc_event done = {.type = TC_EV_DONE, .at = 1, .reason = TC_STR("stop")};
    (void)state;
    outbox_init(&o, 100, 1000000);
    text(&o, 0, "first", 0);
    (void)take(&o);
    text(&o, 5, "a", 100);
    assert_int_not_equal(outbox_wait(&o, 100), 0);
    assert_int_equal(outbox_event(&o, &done), 0);
    assert_int_equal(outbox_wait(&o, 100), 0);
    (void)take(&o);
    assert_int_equal(outbox_wait(&o, 100), 0);
    outbox_fini(&o);
}

/* A long text of 3-byte characters and pairs: split inside no character, offsets in UTF-16 units, nothing lost. */
static void outbox_long_text_is_split_between_characters(void **state) {
    struct outbox o;
    struct tc_buf all;
    uint64_t units = 0;
    size_t entries = 0, bytes = 0;
    (void)state;
    tc_buf_init(&all, 0);
    while (all.len < 200000)
        tc_buf_puts(&all, "\xe2\x82\xac\xf0\x9f\x98\x80x");
    outbox_init(&o, 1, 0);
    assert_int_equal(outbox_text(&o, TC_KIND_TEXT, 0, 9, tc_buf_str(&all), 1, 1), 0);
    while (!outbox_is_empty(&o)) {
        struct tc_event ev = take(&o);
        assert_true(ev.text.n <= OUTBOX_ENTRY_MAX);
        assert_true(tc_utf8_valid(ev.text));
        assert_int_equal(ev.offset, 9 + units);
        assert_memory_equal(ev.text.p, all.data + bytes, ev.text.n);
        units += tc_utf16_len(ev.text);
        bytes += ev.text.n;
        entries++;
    }
    assert_int_equal(bytes, all.len);
    assert_int_equal(o.bytes, 0);
    assert_int_equal(entries, 4);
    outbox_fini(&o);
    tc_buf_fini(&all);
}

/* However much has piled up, sending it moves each byte at most once, also while more is said behind it. */
static void outbox_backlog_costs_as_much_as_its_bytes(void **state) {
    struct outbox o;
    char piece[4097] = {0};
    size_t said = 0, taken = 0;
    (void)state;
    memset(piece, 'x', sizeof(piece) - 1);
    outbox_init(&o, 1, 0);
    while (said < 8U << 20 || !outbox_is_empty(&o)) {
        for (int i = 0; i < (taken == 0 ? 1024 : 8) && said < 8U << 20; i++, said += 4096)
            text(&o, said, piece, 1);
        struct tc_event ev = take(&o);
        assert_int_equal(ev.offset, taken);
        taken += ev.text.n;
        assert_int_equal(o.bytes, said - taken);
    }
    assert_int_equal(taken, said);
    assert_in_range(o.moved, 0, said);
    outbox_fini(&o);
}

static void outbox_long_tool_call_is_done_in_its_last_entry_only(void **state) {
    struct outbox o;
    struct tc_buf all;
    (void)state;
    tc_buf_init(&all, 0);
    while (all.len < OUTBOX_ENTRY_MAX + 10)
        tc_buf_puts(&all, "0123456789");
    tc_buf_putc(&all, '\0');
    outbox_init(&o, 1, 0);
    tool(&o, 0, "id", all.data, true);
    struct tc_event ev = take(&o);
    assert_str(ev.id, "id");
    assert_false(ev.done);
    assert_int_equal(ev.arguments.n, OUTBOX_ENTRY_MAX);
    ev = take(&o);
    assert_str(ev.id, "");
    assert_int_equal(ev.offset, OUTBOX_ENTRY_MAX);
    assert_true(ev.done);
    assert_true(outbox_is_empty(&o));
    outbox_fini(&o);
    tc_buf_fini(&all);
}

static void outbox_fini_with_items_frees_them(void **state) {
    struct outbox o;
    (void)state;
    outbox_init(&o, 1, 0);
    text(&o, 0, "a", 1);
    tool(&o, 0, "id", "{}", false);
    outbox_fini(&o);
    assert_true(outbox_is_empty(&o));
}

static int fini(void **state) {
    (void)state;
    tc_buf_fini(&entry);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outbox_adjacent_text_becomes_one_entry),
        cmocka_unit_test(outbox_kind_or_index_between_separates_entries),
        cmocka_unit_test(outbox_event_keeps_its_place),
        cmocka_unit_test(outbox_tool_pieces_of_one_call_merge),
        cmocka_unit_test(outbox_tool_after_done_does_not_merge),
        cmocka_unit_test(outbox_cadence_waits_for_pieces_or_time),
        cmocka_unit_test(outbox_text_with_something_behind_does_not_wait),
        cmocka_unit_test(outbox_long_text_is_split_between_characters),
        cmocka_unit_test(outbox_backlog_costs_as_much_as_its_bytes),
        cmocka_unit_test(outbox_long_tool_call_is_done_in_its_last_entry_only),
        cmocka_unit_test(outbox_fini_with_items_frees_them),
    };
    return cmocka_run_group_tests(tests, NULL, fini);
}
