/* Joining and pacing: what is joined, where text is cut, and that none is lost. */
#include "feed/merge.h"

#include "base/utf8.h"
#include "feed_events.h"
#include "tokencast/error.h"

#define OUT_MAX 256

static struct {
    struct tc_position pos;
    enum tc_event_type type;
    uint64_t offset;
    char text[128];
} out[OUT_MAX];
static size_t out_count;
static int emit_err;
static struct merge m;

static int keep(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct tc_event back;
    struct tc_str text = ev->type == TC_EV_TOOL_CALL ? ev->arguments : ev->text;
    assert_ptr_equal(arg, &out);
    assert_int_equal(tc_event_decode(raw.p, raw.n, &back), 0); /* raw says the same as ev */
    assert_int_equal(back.type, ev->type);
    assert_int_equal(back.offset, ev->offset);
    assert_int_equal(back.index, ev->index);
    assert_true(tc_str_eq(back.type == TC_EV_TOOL_CALL ? back.arguments : back.text, text));
    assert_true(out_count < OUT_MAX);
    out[out_count].pos = pos;
    out[out_count].type = ev->type;
    out[out_count].offset = ev->offset;
    (void)snprintf(out[out_count++].text, sizeof out[0].text, "%.*s", (int)text.n, text.p ? text.p : "");
    return emit_err;
}

static void begin(enum pace pace, size_t max_bytes) {
    merge_fini(&m);
    merge_init(&m, pace, max_bytes, keep, &out);
    out_count = 0;
    emit_err = 0;
}

static int after_each(void **state) {
    (void)state;
    merge_fini(&m);
    m = (struct merge){0};
    return 0;
}

static int push(struct tc_position pos, struct tc_event ev) {
    struct made_event made;
    make_event(&made, &ev);
    int err = merge_push(&m, pos, &made.ev, tc_buf_str(&made.raw));
    memset(made.raw.data, 'x', made.raw.len); /* nothing of it may be needed any more */
    drop_event(&made);
    return err;
}

#define DELTA(off, txt, ...) ((struct tc_event){.type = TC_EV_DELTA, .offset = (off), .text = TC_STR(txt), __VA_ARGS__})
#define TOOL(off, args, ...)                                                                                           \
    ((struct tc_event){.type = TC_EV_TOOL_CALL, .offset = (off), .arguments = TC_STR(args), __VA_ARGS__})

static void push_ok(uint64_t attempt, uint64_t seq, struct tc_event ev) {
    assert_int_equal(push(at(attempt, seq), ev), 0);
}

static void paced(uint64_t seq, struct tc_event ev) {
    push_ok(1, seq, ev);
    assert_int_equal(merge_flush(&m), 0);
}

static void assert_out(size_t i, uint64_t seq, uint64_t offset, const char *text) {
    assert_true(i < out_count);
    assert_int_equal(out[i].pos.seq, seq);
    assert_int_equal(out[i].offset, offset);
    assert_string_equal(out[i].text, text);
}

static void merge_adjacent_deltas_become_one(void **state) {
    (void)state;
    begin(PACE_TOKEN, 1000);
    push_ok(1, 3, DELTA(0, "a"));
    push_ok(1, 4, DELTA(1, "\xf0\x9f\x98\x80"));
    push_ok(1, 5, DELTA(3, "c"));
    assert_int_equal(out_count, 0);
    assert_int_equal(merge_flush(&m), 0);
    assert_int_equal(out_count, 1);
    assert_out(0, 5, 0,
               "a\xf0\x9f\x98\x80"
               "c");
    assert_int_equal(merge_flush(&m), 0);
    assert_int_equal(out_count, 1);
}

/* Each pair differs in one thing and must stay two. */
static void merge_pieces_that_differ_stay_apart(void **state) {
    (void)state;
    const struct {
        uint64_t attempt;
        struct tc_event first, second;
    } rows[] = {
        {2, DELTA(0, "ab"), DELTA(2, "cd")},
        {1, DELTA(0, "ab"), DELTA(2, "cd", .kind = TC_KIND_REASONING)},
        {1, DELTA(0, "ab"), DELTA(2, "cd", .kind = TC_KIND_OTHER, .kind_name = TC_STR("x"))},
        {1, DELTA(0, "ab", .kind = TC_KIND_OTHER, .kind_name = TC_STR("y")),
         DELTA(2, "cd", .kind = TC_KIND_OTHER, .kind_name = TC_STR("x"))},
        {1, DELTA(0, "ab"), DELTA(2, "cd", .index = 1)},
        {1, DELTA(0, "ab"), DELTA(1, "cd")},
        {1, DELTA(0, "ab"), DELTA(3, "cd")},
        {1, DELTA(0, "ab"), DELTA(0, "cd")},
        {1, DELTA(0, "ab"), TOOL(2, "cd")},
        {1, TOOL(0, "ab"), TOOL(2, "cd", .index = 2)},
        {1, TOOL(0, "ab"), TOOL(2, "cd", .done = true)},
        {1, TOOL(0, "ab"), TOOL(2, "cd", .id = TC_STR("call_1"))},
        {1, TOOL(0, "ab"), TOOL(2, "cd", .name = TC_STR("f"))},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(PACE_TOKEN, 1000);
        push_ok(1, 3, rows[i].first);
        push_ok(rows[i].attempt, 4, rows[i].second);
        assert_int_equal(merge_flush(&m), 0);
        assert_int_equal(out_count, 2);
        assert_out(0, 3, rows[i].first.offset, "ab");
        assert_out(1, 4, rows[i].second.offset, "cd");
    }
}

static void merge_deltas_of_one_unknown_kind_become_one(void **state) {
    (void)state;
    begin(PACE_TOKEN, 1000);
    push_ok(1, 3, DELTA(0, "ab", .kind = TC_KIND_OTHER, .kind_name = TC_STR("draft"), .index = 4));
    push_ok(1, 4, DELTA(2, "cd", .kind = TC_KIND_OTHER, .kind_name = TC_STR("draft"), .index = 4));
    assert_int_equal(merge_flush(&m), 0);
    assert_int_equal(out_count, 1);
    assert_out(0, 4, 0, "abcd");
}

static void merge_other_event_comes_after_what_was_held(void **state) {
    (void)state;
    begin(PACE_TOKEN, 1000);
    push_ok(1, 3, DELTA(0, "ab"));
    push_ok(1, 4, (struct tc_event){.type = TC_EV_NOTE, .text = TC_STR("n")});
    push_ok(1, 5, DELTA(2, "cd"));
    push_ok(1, 6, (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
    assert_int_equal(out_count, 4);
    assert_out(0, 3, 0, "ab");
    assert_out(1, 4, 0, "n");
    assert_out(2, 5, 2, "cd");
    assert_int_equal(out[3].type, TC_EV_DONE);
}

static void merge_tool_call_pieces_become_one(void **state) {
    (void)state;
    begin(PACE_TOKEN, 1000);
    push_ok(1, 3, TOOL(0, "", .id = TC_STR("call_1"), .name = TC_STR("f")));
    push_ok(1, 4, TOOL(0, "{\"a\""));
    push_ok(1, 5, TOOL(4, ":1"));
    push_ok(1, 6, TOOL(6, "}", .done = true));
    assert_int_equal(out_count, 3);
    assert_out(1, 5, 0, "{\"a\":1");
    assert_out(2, 6, 6, "}");
}

static void merge_joined_text_stays_within_the_cap(void **state) {
    (void)state;
    begin(PACE_TOKEN, 4);
    push_ok(1, 3, DELTA(0, "ab"));
    push_ok(1, 4, DELTA(2, "cd"));
    push_ok(1, 5, DELTA(4, "e"));
    assert_int_equal(out_count, 1);
    assert_out(0, 4, 0, "abcd");
    push_ok(1, 6, DELTA(5, "larger than it"));
    assert_int_equal(merge_flush(&m), 0);
    assert_int_equal(out_count, 3);
    assert_out(2, 6, 5, "larger than it");
}

static void merge_word_pace_holds_back_half_a_word(void **state) {
    (void)state;
    begin(PACE_WORD, 1000);
    merge_reset(&m, at(1, 2));
    paced(3, DELTA(0, "Hel"));
    assert_int_equal(out_count, 0);
    paced(4, DELTA(3, "lo wor"));
    assert_int_equal(out_count, 1);
    assert_out(0, 3, 0, "Hello "); /* all of 3 and a part of 4: a resume must get 4 again */
    paced(5, DELTA(9, "ld "));
    assert_out(1, 5, 6, "world ");
    assert_int_equal(out_count, 2);
}

static void merge_cut_inside_the_first_piece_stands_before_it(void **state) {
    (void)state;
    begin(PACE_WORD, 1000);
    merge_reset(&m, at(1, 2));
    paced(3, DELTA(0, "a b"));
    assert_out(0, 2, 0, "a ");
    paced(4, DELTA(3, " c"));
    assert_out(1, 3, 2, "b ");
}

static void merge_cut_is_not_moved_by_later_pieces_without_one(void **state) {
    (void)state;
    begin(PACE_WORD, 1000);
    merge_reset(&m, at(1, 2));
    push_ok(1, 3, DELTA(0, "a"));
    push_ok(1, 4, DELTA(1, " b"));
    push_ok(1, 5, DELTA(3, "c"));
    push_ok(1, 6, DELTA(4, "d"));
    assert_int_equal(merge_flush(&m), 0);
    assert_int_equal(out_count, 1);
    assert_out(0, 3, 0, "a ");
    push_ok(1, 7, (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
    assert_out(1, 6, 2, "bcd");
}

static void merge_paces_cut_at_their_own_boundaries(void **state) {
    (void)state;
    static const struct {
        enum pace pace;
        const char *out;
    } rows[] = {{PACE_WORD, "One. Two\nthree "}, {PACE_SENTENCE, "One. Two\n"}, {PACE_LINE, "One. Two\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(rows[i].pace, 1000);
        paced(3, DELTA(0, "One. Two\nthree 3.5 f"));
        assert_int_equal(out_count, 1);
        assert_string_equal(out[0].text, i == 0 ? "One. Two\nthree 3.5 " : rows[i].out);
    }
    begin(PACE_SENTENCE, 1000);
    paced(3, DELTA(0, "One two, three"));
    paced(4, DELTA(14, "."));
    assert_int_equal(out_count, 0); /* whether "3.5" or the end of a sentence is not known yet */
    paced(5, DELTA(15, " F"));
    assert_out(0, 4, 0, "One two, three. ");
    begin(PACE_LINE, 1000);
    paced(3, DELTA(0, "One. Two! "));
    assert_int_equal(out_count, 0);
}

static void merge_pace_does_not_hold_beyond_the_cap(void **state) {
    (void)state;
    begin(PACE_LINE, 4);
    paced(3, DELTA(0, "abc"));
    assert_int_equal(out_count, 0);
    paced(4, DELTA(3, "d"));
    assert_out(0, 4, 0, "abcd");
}

static void merge_pace_does_not_hold_tool_calls(void **state) {
    (void)state;
    begin(PACE_LINE, 1000);
    paced(3, TOOL(0, "{"));
    assert_int_equal(out_count, 1);
}

static void merge_reset_forgets_what_was_held(void **state) {
    (void)state;
    begin(PACE_WORD, 1000);
    push_ok(1, 3, DELTA(0, "gone"));
    merge_reset(&m, at(7, 9));
    assert_int_equal(merge_flush(&m), 0);
    paced(10, DELTA(0, "a b"));
    assert_int_equal(out_count, 1);
    assert_int_equal(out[0].pos.attempt, 7);
    assert_out(0, 9, 0, "a ");
}

static void merge_passes_on_the_error_of_emit(void **state) {
    (void)state;
    begin(PACE_TOKEN, 1000);
    push_ok(1, 3, DELTA(0, "a"));
    emit_err = TC_EFULL;
    assert_int_equal(push(at(1, 4), DELTA(5, "b")), TC_EFULL);
    begin(PACE_TOKEN, 1000);
    push_ok(1, 3, DELTA(0, "a"));
    emit_err = TC_EFULL;
    assert_int_equal(merge_flush(&m), TC_EFULL);
}

/* All of `text` up to the next `max` units, in characters. */
static size_t piece_end(const char *text, size_t from, unsigned chars) {
    size_t i = from;
    while (chars-- > 0 && text[i] != '\0')
        do
            i++;
        while (((unsigned char)text[i] & 0xc0) == 0x80);
    return i;
}

static void merge_random_splits_lose_no_text(void **state) {
    (void)state;
    static const char text[] = "The quick\tbr\xc3\xb6wn fox. Jumps! \xf0\x9f\xa6\x8a over?\nthe lazy\r\n dog. End";
    unsigned seed = 1;
    for (unsigned round = 0; round < 400; round++) {
        char whole[256] = "";
        size_t from = 0, seq = 2;
        uint64_t units = 0;
        begin((enum pace)(round % 4), 8 + round % 90);
        while (from < sizeof text - 1) {
            seed = seed * 1103515245u + 12345u;
            size_t end = piece_end(text, from, 1 + (seed >> 16) % 7);
            struct tc_event ev = {.type = TC_EV_DELTA, .offset = units, .text = {text + from, end - from}};
            push_ok(1, ++seq, ev);
            units += tc_utf16_len(ev.text);
            from = end;
            if ((seed >> 24) % 3 != 0)
                assert_int_equal(merge_flush(&m), 0);
        }
        push_ok(1, ++seq, (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
        units = 0;
        for (size_t i = 0; i + 1 < out_count; i++) {
            assert_int_equal(out[i].offset, units);
            assert_true(i == 0 || tc_position_cmp(out[i - 1].pos, out[i].pos) <= 0);
            units += tc_utf16_len(tc_str_from(out[i].text));
            strncat(whole, out[i].text, sizeof whole - strlen(whole) - 1);
        }
        assert_string_equal(whole, text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(merge_adjacent_deltas_become_one, after_each),
        cmocka_unit_test_teardown(merge_pieces_that_differ_stay_apart, after_each),
        cmocka_unit_test_teardown(merge_deltas_of_one_unknown_kind_become_one, after_each),
        cmocka_unit_test_teardown(merge_other_event_comes_after_what_was_held, after_each),
        cmocka_unit_test_teardown(merge_tool_call_pieces_become_one, after_each),
        cmocka_unit_test_teardown(merge_joined_text_stays_within_the_cap, after_each),
        cmocka_unit_test_teardown(merge_word_pace_holds_back_half_a_word, after_each),
        cmocka_unit_test_teardown(merge_cut_inside_the_first_piece_stands_before_it, after_each),
        cmocka_unit_test_teardown(merge_cut_is_not_moved_by_later_pieces_without_one, after_each),
        cmocka_unit_test_teardown(merge_paces_cut_at_their_own_boundaries, after_each),
        cmocka_unit_test_teardown(merge_pace_does_not_hold_beyond_the_cap, after_each),
        cmocka_unit_test_teardown(merge_pace_does_not_hold_tool_calls, after_each),
        cmocka_unit_test_teardown(merge_reset_forgets_what_was_held, after_each),
        cmocka_unit_test_teardown(merge_passes_on_the_error_of_emit, after_each),
        cmocka_unit_test_teardown(merge_random_splits_lose_no_text, after_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
