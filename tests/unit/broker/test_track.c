/* Tracks: frames in segments, chunk framing, trimming, and finding one's way by offset. */
#include "feed/track.h"

#include "feed_events.h"
#include "tokencast/error.h"

static struct track *t;
static struct tc_buf scratch;
static uint64_t trims[4096]; /* what on_trim was told */
static size_t trim_count;

static void on_trim(struct track *track, uint64_t new_tail) {
    assert_ptr_equal(track, t);
    assert_true(new_tail > t->tail_off); /* told first */
    assert_true(trim_count < sizeof trims / sizeof trims[0]);
    trims[trim_count++] = new_tail;
}

static void begin(const struct dialect *dialect, unsigned include, enum pace pace, bool chunked, size_t events,
                  size_t bytes) {
    struct track_key key = {.dialect = dialect, .include = include, .pace = pace, .chunked = chunked};
    assert_int_equal(track_create(&t, &key, events, bytes, &scratch), 0);
    t->on_trim = on_trim;
    t->blocked = 1; /* somebody may be behind */
    trim_count = 0;
}

static int after_each(void **state) {
    (void)state;
    track_destroy(t);
    t = NULL;
    tc_buf_fini(&scratch);
    return 0;
}

static void put(uint64_t seq, const struct tc_event *ev) {
    struct made_event made;
    make_event(&made, ev);
    struct dialect_event in = in_dialect(&made, at(1, seq));
    assert_int_equal(track_event(t, at(1, seq), &in), 0);
    drop_event(&made);
}

static void put_delta(uint64_t seq, uint64_t offset, const char *text) {
    put(seq, &(struct tc_event){.type = TC_EV_DELTA, .offset = offset, .text = tc_str_from(text)});
}

static int say(const char *type, struct tc_str json) {
    return track_control(t, &(struct dialect_control){.type = type, .json = json});
}

static struct tc_buf all(uint64_t from) {
    struct tc_buf out = {0};
    track_copy(t, from, t->head_off, &out);
    assert_int_equal(out.len, t->head_off - from);
    return out;
}

static void assert_track_is(const char *want) {
    struct tc_buf out = all(t->tail_off);
    assert_bytes(tc_buf_str(&out), want);
    tc_buf_fini(&out);
}

static void track_chunked_frames_read_back_as_the_plain_ones(void **state) {
    (void)state;
    static char big[5000];
    struct tc_buf texts[2];
    memset(big, 'b', sizeof big - 1);
    for (int chunked = 0; chunked < 2; chunked++) {
        begin(&dialect_native, INCLUDE_ALL, PACE_TOKEN, chunked, 1000, 1000000);
        put_delta(2, 0, "a");
        put_delta(3, 1, big);
        assert_int_equal(say("status", TC_STR("{\"type\":\"status\"}")), 0);
        assert_int_equal(track_heartbeat(t), 0);
        for (uint64_t seq = 4; seq < 200; seq++)
            put_delta(seq, seq, "piece of text");
        assert_int_equal(track_end(t), 0);
        texts[chunked] = all(0);
        track_destroy(t);
    }
    t = NULL;
    bool last;
    struct tc_buf plain = dechunk(tc_buf_str(&texts[1]), &last);
    assert_true(last);
    assert_true(tc_str_eq(tc_buf_str(&plain), tc_buf_str(&texts[0])));
    tc_buf_fini(&plain);
    tc_buf_fini(&texts[0]);
    tc_buf_fini(&texts[1]);
}

static void track_event_that_a_form_leaves_out_adds_nothing(void **state) {
    (void)state;
    begin(&dialect_text, INCLUDE_ALL, PACE_TOKEN, true, 100, 100000);
    put(2, &(struct tc_event){.type = TC_EV_START});
    assert_int_equal(say("status", TC_STR("{}")), 0);
    assert_int_equal(track_heartbeat(t), 0);
    assert_int_equal(t->head_off, 0);
    assert_int_equal(t->frame_next, 0);
    put_delta(3, 0, "hi");
    assert_int_equal(track_end(t), 0);
    assert_track_is("00000002\r\nhi\r\n0\r\n\r\n");
    assert_true(t->ended);
}

static void track_malformed_event_adds_nothing(void **state) {
    (void)state;
    begin(&dialect_native, INCLUDE_ALL, PACE_TOKEN, true, 100, 100000);
    struct tc_event ev = {.type = TC_EV_DELTA, .type_name = TC_STR("delta")};
    struct dialect_event in = {.id = TC_STR("1-2"), .ev = &ev, .raw = TC_STR("\x81\xa4type")};
    assert_int_equal(track_event(t, at(1, 2), &in), TC_ESYNTAX);
    assert_int_equal(t->head_off, 0);
    assert_int_equal(t->pos.seq, 0);
    put_delta(3, 0, "hi");
    assert_int_equal(track_frame(t, 0)->off, 0);
}

static void track_mask_lets_through_what_it_names(void **state) {
    (void)state;
    static const struct {
        unsigned include;
        const char *passes; /* a letter an event below */
    } rows[] = {{INCLUDE_TEXT, "tosde"},
                {INCLUDE_REASONING, "rsde"},
                {INCLUDE_TOOLS, "csde"},
                {INCLUDE_NOTES, "nsde"},
                {INCLUDE_ALL, "trocnsde"},
                {0, "sde"},
                {INCLUDE_TEXT | INCLUDE_NOTES, "tonsde"}};
    static const struct {
        char letter;
        struct tc_event ev;
    } events[] = {{'t', {.type = TC_EV_DELTA}},
                  {'r', {.type = TC_EV_DELTA, .kind = TC_KIND_REASONING}},
                  {'o', {.type = TC_EV_DELTA, .kind = TC_KIND_OTHER}},
                  {'c', {.type = TC_EV_TOOL_CALL}},
                  {'n', {.type = TC_EV_NOTE}},
                  {'s', {.type = TC_EV_START}},
                  {'d', {.type = TC_EV_DONE}},
                  {'e', {.type = TC_EV_ERROR}},
                  {'f', {.type = TC_EV_FENCE}}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
        for (size_t e = 0; e < sizeof events / sizeof events[0]; e++)
            assert_int_equal(track_includes(rows[r].include, &events[e].ev),
                             strchr(rows[r].passes, events[e].letter) != NULL);
}

static void track_finds_frames_by_offset_at_their_borders(void **state) {
    (void)state;
    begin(&dialect_text, INCLUDE_ALL, PACE_TOKEN, false, 10000, 1000000);
    char text[128] = "";
    for (uint64_t seq = 2; seq < 400; seq++) {
        (void)snprintf(text, sizeof text, "%0*d", (int)(1 + seq * 7 % 90), (int)seq);
        put_delta(seq, t->head_off, text);
    }
    assert_true(t->first != t->last);
    assert_int_equal(trim_count, 0);
    for (uint64_t n = t->frame_first; n < t->frame_next; n++) {
        assert_int_equal(track_frame(t, n)->pos.seq, n + 2);
        assert_int_equal(track_frame_at(t, track_frame(t, n)->off), n);
        assert_int_equal(track_frame_at(t, track_frame_end(t, n) - 1), n);
    }
    assert_int_equal(track_frame_at(t, t->head_off), t->frame_next);
}

static void track_pieces_from_any_offset_are_its_bytes(void **state) {
    (void)state;
    begin(&dialect_text, INCLUDE_ALL, PACE_TOKEN, false, 10000, 1000000);
    for (uint64_t seq = 2; seq < 700; seq++)
        put_delta(seq, t->head_off, seq % 3 ? "some text" : "and a rather longer piece of it");
    struct tc_buf whole = all(0);
    for (uint64_t off = 0; off <= t->head_off; off += off % 64 == 0 ? 63 : 1) {
        struct iovec iov[3];
        size_t bytes, sum = 0;
        int n = track_iov(t, off, iov, 3, &bytes);
        for (int i = 0; i < n; i++) {
            assert_memory_equal(iov[i].iov_base, whole.data + off + sum, iov[i].iov_len);
            sum += iov[i].iov_len;
        }
        assert_int_equal(sum, bytes);
        assert_true(n == 3 || off + sum == t->head_off);
        assert_int_equal(n == 0, off == t->head_off);
    }
    struct tc_buf part = {0};
    uint64_t border = t->first->next->base;
    track_copy(t, border - 5, border + 7, &part);
    assert_int_equal(part.len, 12);
    assert_memory_equal(part.data, whole.data + border - 5, 12);
    track_copy(t, border, border, &part);
    assert_int_equal(part.len, 12);
    tc_buf_fini(&part);
    tc_buf_fini(&whole);
}

static void track_keeps_nothing_while_everybody_keeps_up(void **state) {
    (void)state;
    begin(&dialect_text, INCLUDE_ALL, PACE_TOKEN, false, 100, 100000);
    for (uint64_t seq = 2; seq < 60; seq++)
        put_delta(seq, t->head_off, "this one is slow, so that all of it is kept for him ..............");
    assert_true(t->first != t->last);
    assert_int_equal(t->tail_off, 0);

    t->blocked = 0;
    const struct segment *warm = t->last;
    for (uint64_t seq = 60; seq < 3000; seq++) {
        uint64_t before = t->head_off;
        put_delta(seq, t->head_off, seq % 2 ? "now nobody is" : "slow");
        assert_ptr_equal(t->first, warm);
        assert_ptr_equal(t->last, warm);
        assert_int_equal(t->tail_off, before);
        assert_int_equal(t->frame_next - t->frame_first, 1);
        assert_int_equal(track_frame(t, t->frame_first)->off, before);
        assert_int_equal(t->tail_pos.seq, seq - 1);
        assert_track_is(seq % 2 ? "now nobody is" : "slow");
    }
    assert_int_equal(trim_count, 0);

    t->todo = 1; /* one was not visited yet */
    uint64_t from = t->tail_off;
    put_delta(3000, t->head_off, "-");
    assert_int_equal(t->tail_off, from);
    assert_track_is("now nobody is-");
}

/* After each event: everything within the bounds is kept, and no more than a segment beyond them. */
static void check_bounds(size_t events, size_t bytes) {
    if (t->tail_off > 0)
        assert_true(t->frame_next - t->frame_first >= events || t->head_off - t->tail_off >= bytes);
    assert_int_equal(track_frame(t, t->frame_first)->off, t->tail_off);
    assert_int_equal(t->first->base, t->tail_off);
    if (t->frame_first > 0)
        assert_int_equal(t->tail_pos.seq, track_frame(t, t->frame_first)->pos.seq - 1);
    if (t->first != t->last) {
        uint64_t end = t->first->next->base;
        assert_true(t->head_off - end < bytes && t->frame_next - track_frame_at(t, end) < events);
    }
}

static void track_trims_whole_segments_beyond_its_events(void **state) {
    (void)state;
    begin(&dialect_native, INCLUDE_ALL, PACE_TOKEN, true, 50, 10000000);
    for (uint64_t seq = 1; seq < 4000; seq++) {
        put_delta(seq, seq, "t");
        check_bounds(50, 10000000);
    }
    assert_true(trim_count > 1);
    assert_int_equal(trims[trim_count - 1], t->tail_off);
}

static void track_trims_whole_segments_beyond_its_bytes(void **state) {
    (void)state;
    begin(&dialect_native, INCLUDE_ALL, PACE_TOKEN, false, 1000000, 9000);
    for (uint64_t seq = 1; seq < 4000; seq++) {
        put_delta(seq, seq, seq % 50 ? "text" : "a longer piece of text than the others are");
        check_bounds(1000000, 9000);
    }
    assert_true(trim_count > 1);
    struct tc_buf out = all(t->tail_off);
    assert_memory_equal(out.data, "event: delta\n", 13); /* the tail is the border of a frame */
    tc_buf_fini(&out);
}

static void track_frame_larger_than_a_segment_has_its_own(void **state) {
    (void)state;
    size_t n = 200000;
    char *big = malloc(n + 1);
    assert_non_null(big);
    memset(big, 'x', n);
    big[n] = '\0';
    begin(&dialect_text, INCLUDE_ALL, PACE_TOKEN, false, 1000, 1000000);
    put_delta(1, 0, "a");
    put_delta(2, 1, big);
    put_delta(3, n + 1, "b");
    assert_int_equal(t->head_off, n + 2);
    struct iovec iov[3];
    size_t bytes;
    assert_int_equal(track_iov(t, 0, iov, 3, &bytes), 3);
    assert_int_equal(iov[1].iov_len, n);
    free(big);
}

static void track_pace_gives_out_what_it_holds_before_it_ends(void **state) {
    (void)state;
    begin(&dialect_text, INCLUDE_ALL, PACE_WORD, true, 1000, 100000);
    put_delta(2, 0, "half a wo");
    assert_track_is("00000007\r\nhalf a \r\n");
    assert_int_equal(track_end(t), 0);
    assert_track_is("00000007\r\nhalf a \r\n00000002\r\nwo\r\n0\r\n\r\n");
}

static void track_pace_gives_out_what_it_holds_before_the_broker_speaks(void **state) {
    (void)state;
    begin(&dialect_ndjson, INCLUDE_ALL, PACE_WORD, false, 1000, 100000);
    put_delta(2, 0, "wo");
    assert_int_equal(t->head_off, 0);
    assert_int_equal(say("error", TC_STR("{\"type\":\"error\"}")), 0);
    assert_track_is("{\"position\":\"1-2\",\"type\":\"delta\",\"text\":\"wo\",\"offset\":0}\n{\"type\":\"error\"}\n");
}

static void track_paced_frame_knows_how_far_its_text_reaches(void **state) {
    (void)state;
    begin(&dialect_text, INCLUDE_ALL, PACE_WORD, false, 1000, 100000);
    put_delta(2, 0, "on");
    put_delta(3, 2, "e tw");
    put_delta(4, 6, "o ");
    assert_int_equal(t->frame_next, 2);
    assert_int_equal(track_frame(t, 0)->pos.seq, 2);
    assert_int_equal(track_frame(t, 0)->reach.seq, 3);
    assert_int_equal(track_frame(t, 1)->pos.seq, 4);
    assert_int_equal(track_frame(t, 1)->reach.seq, 4);
}

static void track_of_bare_text_refuses_a_correction(void **state) {
    (void)state;
    static const struct tc_event other = {.type = TC_EV_DELTA, .text = {"onE", 3}};
    begin(&dialect_text, INCLUDE_ALL, PACE_TOKEN, false, 1000, 100000);
    put_delta(2, 0, "one");
    put_delta(3, 0, "one");
    assert_track_is("one");
    struct made_event made;
    make_event(&made, &other);
    struct dialect_event in = in_dialect(&made, at(1, 4));
    assert_int_equal(track_event(t, at(1, 4), &in), TC_ESTATE);
    drop_event(&made);
    assert_track_is("one");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(track_chunked_frames_read_back_as_the_plain_ones, after_each),
        cmocka_unit_test_teardown(track_event_that_a_form_leaves_out_adds_nothing, after_each),
        cmocka_unit_test_teardown(track_malformed_event_adds_nothing, after_each),
        cmocka_unit_test_teardown(track_mask_lets_through_what_it_names, after_each),
        cmocka_unit_test_teardown(track_finds_frames_by_offset_at_their_borders, after_each),
        cmocka_unit_test_teardown(track_pieces_from_any_offset_are_its_bytes, after_each),
        cmocka_unit_test_teardown(track_keeps_nothing_while_everybody_keeps_up, after_each),
        cmocka_unit_test_teardown(track_trims_whole_segments_beyond_its_events, after_each),
        cmocka_unit_test_teardown(track_trims_whole_segments_beyond_its_bytes, after_each),
        cmocka_unit_test_teardown(track_frame_larger_than_a_segment_has_its_own, after_each),
        cmocka_unit_test_teardown(track_pace_gives_out_what_it_holds_before_it_ends, after_each),
        cmocka_unit_test_teardown(track_pace_gives_out_what_it_holds_before_the_broker_speaks, after_each),
        cmocka_unit_test_teardown(track_paced_frame_knows_how_far_its_text_reaches, after_each),
        cmocka_unit_test_teardown(track_of_bare_text_refuses_a_correction, after_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
