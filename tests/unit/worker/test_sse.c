/* The event-stream parser against the specification's corners, fed in every possible cut. */
#include "base/buf.h"
#include "provider/sse.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct seen {
    struct tc_buf text; /* name|data, one event a line end marked by ~ */
    unsigned events, stop_after;
};

static bool on_event(void *arg, struct tc_str name, struct tc_str data) {
    struct seen *s = arg;

    tc_buf_put_str(&s->text, name);
    tc_buf_putc(&s->text, '|');
    tc_buf_put_str(&s->text, data);
    tc_buf_putc(&s->text, '~');
    s->events++;
    return s->events != s->stop_after;
}

/* Feeds `text` cut at `cut`, and checks what came out. */
static void feed_cut(const char *text, size_t n, size_t cut, bool end, const char *want) {
    struct seen seen = {0};
    struct sse sse;
    size_t used;

    tc_buf_init(&seen.text, 0);
    sse_init(&sse, on_event, &seen);
    assert_int_equal(sse_feed(&sse, (struct tc_str){text, cut}, &used), 0);
    assert_int_equal(used, cut);
    assert_int_equal(sse_feed(&sse, (struct tc_str){text + cut, n - cut}, &used), 0);
    assert_int_equal(used, n - cut);
    if (end)
        sse_finish(&sse);
    tc_buf_putc(&seen.text, 0);
    assert_string_equal(seen.text.data, want);
    sse_fini(&sse);
    tc_buf_fini(&seen.text);
}

static void check(const char *text, bool end, const char *want) {
    size_t n = strlen(text);

    for (size_t cut = 0; cut <= n; cut++)
        feed_cut(text, n, cut, end, want);
}

static void line_ends_of_every_kind_end_lines(void **state) {
    (void)state;
    check("data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\r\n\n", false, "|a~|b~|c~|d~");
}

static void crlf_is_one_line_end_inside_an_event(void **state) {
    (void)state;
    check("event: x\r\ndata: a\r\ndata: b\r\n\r\n", false, "x|a\nb~");
}

static void fields_are_read_as_specified(void **state) {
    (void)state;
    check("event: x\ndata:a\ndata:  b\ndata\nid: 7\nretry: 9\nwhat: else\n\n", false, "x|a\n b\n~");
}

static void comments_and_events_without_data_are_silent(void **state) {
    (void)state;
    check(":\n\n: ping\n\nevent: x\n\ndata: a\n\n", false, "|a~");
}

static void bom_is_skipped_only_at_the_start(void **state) {
    (void)state;
    check("\xef\xbb\xbf"
          "data: a\n\n\xef\xbb\xbf"
          "data: b\n\n",
          false, "|a~");
}

static void empty_data_is_an_event(void **state) {
    (void)state;
    check("data:\n\ndata\n\n", false, "|~|~");
}

static void utf8_cut_anywhere_stays_whole(void **state) {
    (void)state;
    check("data: gr\xc3\xbc\xc3\x9f"
          "e \xf0\x9f\x9a\x80\n\n",
          false,
          "|gr\xc3\xbc\xc3\x9f"
          "e \xf0\x9f\x9a\x80~");
}

static void end_of_stream_takes_whole_lines_only(void **state) {
    (void)state;
    check("data: a\n", true, "|a~");
    check("data: a\ndata: b", true, "");
    check("data: a\n", false, "");
}

static void callback_that_says_stop_leaves_the_rest(void **state) {
    struct seen seen = {.stop_after = 1};
    struct sse sse;
    size_t used;
    struct tc_str text = TC_STR("data: a\n\ndata: b\n\n");

    (void)state;
    tc_buf_init(&seen.text, 0);
    sse_init(&sse, on_event, &seen);
    assert_int_equal(sse_feed(&sse, text, &used), 0);
    assert_int_equal(used, 9);
    assert_int_equal(sse_feed(&sse, (struct tc_str){text.p + used, text.n - used}, &used), 0);
    assert_int_equal(seen.events, 2);
    sse_fini(&sse);
    tc_buf_fini(&seen.text);
}

/* Feeds `chunk` until it is refused or `times` is reached. */
static int feed_times(const char *first, const char *chunk, size_t times, const char *last) {
    struct seen seen = {0};
    struct sse sse;
    size_t used;
    int rc;

    tc_buf_init(&seen.text, 0);
    sse_init(&sse, on_event, &seen);
    rc = sse_feed(&sse, tc_str_from(first), &used);
    for (size_t i = 0; rc == 0 && i < times; i++)
        rc = sse_feed(&sse, tc_str_from(chunk), &used);
    if (rc == 0)
        rc = sse_feed(&sse, tc_str_from(last), &used);
    sse_fini(&sse);
    tc_buf_fini(&seen.text);
    return rc;
}

static void giant_line_is_refused(void **state) {
    (void)state;
    assert_int_equal(feed_times("data: ", "0123456789abcdef", SSE_LINE_MAX / 16 - 1, "\n\n"), 0);
    assert_int_equal(feed_times("data: ", "0123456789abcdef", SSE_LINE_MAX / 16 + 1, "\n\n"), TC_ETOOLARGE);
}

static void giant_event_of_small_lines_is_refused(void **state) {
    (void)state;
    assert_int_equal(feed_times("", "data: 012345678\n", SSE_EVENT_MAX / 10 + 2, "\n"), TC_ETOOLARGE);
}

static void giant_line_in_one_piece_is_refused(void **state) {
    char *line = malloc(SSE_LINE_MAX + 9);

    (void)state;
    assert_non_null(line);
    memset(line, 'x', SSE_LINE_MAX + 8);
    memcpy(line, "data: ", 6);
    line[SSE_LINE_MAX + 7] = '\n';
    line[SSE_LINE_MAX + 8] = 0;
    assert_int_equal(feed_times("", line, 1, "\n"), TC_ETOOLARGE);
    free(line);
}

static void giant_event_name_counts_as_unnamed(void **state) {
    (void)state;
    check("event: 0123456789012345678901234567890123456789012345678901234567890123456789\ndata: a\n\n", false, "|a~");
}

static void reset_parser_knows_nothing_of_the_stream_before(void **state) {
    struct seen seen = {0};
    struct sse sse;
    size_t used;

    (void)state;
    tc_buf_init(&seen.text, 0);
    sse_init(&sse, on_event, &seen);
    assert_int_equal(sse_feed(&sse, TC_STR("event: x\ndata: a\ndata: half"), &used), 0);
    sse_reset(&sse);
    assert_int_equal(sse_feed(&sse,
                              TC_STR("\xef\xbb\xbf"
                                     "data: b\n\n"),
                              &used),
                     0);
    tc_buf_putc(&seen.text, 0);
    assert_string_equal(seen.text.data, "|b~");
    sse_fini(&sse);
    tc_buf_fini(&seen.text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_ends_of_every_kind_end_lines),
        cmocka_unit_test(crlf_is_one_line_end_inside_an_event),
        cmocka_unit_test(fields_are_read_as_specified),
        cmocka_unit_test(comments_and_events_without_data_are_silent),
        cmocka_unit_test(bom_is_skipped_only_at_the_start),
        cmocka_unit_test(empty_data_is_an_event),
        cmocka_unit_test(utf8_cut_anywhere_stays_whole),
        cmocka_unit_test(end_of_stream_takes_whole_lines_only),
        cmocka_unit_test(callback_that_says_stop_leaves_the_rest),
        cmocka_unit_test(giant_line_is_refused),
        cmocka_unit_test(giant_event_of_small_lines_is_refused),
        cmocka_unit_test(giant_line_in_one_piece_is_refused),
        cmocka_unit_test(giant_event_name_counts_as_unnamed),
        cmocka_unit_test(reset_parser_knows_nothing_of_the_stream_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
