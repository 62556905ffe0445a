/* What a new attempt keeps of the logs that dead workers leave: whole ones, torn ones, and ones that nobody wrote. */
#include "run/past.h"

#include "provider/kind.h"

#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FOX "\xf0\x9f\xa6\x8a" /* two UTF-16 units */

static struct past past;
static struct past_keeps keeps;
static const char *why;
static uint64_t seq;

/* A provider that keeps what it is shown, but for `cuts` bytes at the end; `begins_anew`: nothing. */
static size_t cuts;
static bool begins_anew, thought_seen;

static size_t keeps_all(struct provider *p, const json_t *request, struct tc_str said, bool thought) {
    (void)p;
    (void)request;
    thought_seen = thought;
    return begins_anew ? 0 : said.n - cuts;
}

static const struct provider_kind kind = {.name = "test", .keeps = keeps_all};
static struct provider provider = {.kind = &kind};

static int set_up(void **state) {
    (void)state;
    past_init(&past, 1000);
    seq = 0;
    cuts = 0;
    begins_anew = thought_seen = false;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    past_fini(&past);
    return 0;
}

static void take_bytes(uint64_t at, struct tc_str e) {
    struct tc_reply_entry entry = {.position = {1, at}, .e = e, .has_e = e.p != NULL};
    past_take(&past, &entry);
    seq = at;
}

static void take_at(uint64_t at, const struct tc_event *ev) {
    struct tc_buf e;
    tc_buf_init(&e, 0);
    tc_event_encode(&e, ev);
    take_bytes(at, tc_buf_str(&e));
    tc_buf_fini(&e);
}

static void take(const struct tc_event *ev) {
    take_at(seq + 1, ev);
}

static void created(void) {
    take(&(struct tc_event){.type = TC_EV_CREATED, .at = 1, .model = TC_STR("m")});
    take(&(struct tc_event){.type = TC_EV_START, .at = 2});
}

static void says(enum tc_kind what, uint64_t index, uint64_t offset, const char *text) {
    take(&(struct tc_event){
        .type = TC_EV_DELTA, .at = 3, .kind = what, .index = index, .offset = offset, .text = tc_str_from(text)});
}

static void calls(uint64_t index, uint64_t offset, const char *arguments, bool done) {
    take(&(struct tc_event){.type = TC_EV_TOOL_CALL,
                            .at = 4,
                            .index = index,
                            .offset = offset,
                            .id = TC_STR("c"),
                            .name = TC_STR("f"),
                            .arguments = tc_str_from(arguments),
                            .done = done});
}

static bool ask(void) {
    past_end(&past, (struct tc_position){1, seq});
    return past_keep(&past, &provider, NULL, &keeps, &why);
}

static void keeps_text(const char *text, uint64_t units) {
    if (!ask())
        fail_msg("begins anew: %s", why);
    assert_true(tc_str_is(keeps.text, text));
    assert_true(keeps.kept_count >= 1);
    assert_true(tc_str_is(keeps.kept[0].kind, "text"));
    assert_int_equal(keeps.kept[0].index, 0);
    assert_int_equal(keeps.kept[0].length, units);
}

static void begins_anew_because(const char *reason) {
    assert_false(ask());
    assert_string_equal(why, reason);
    assert_int_equal(keeps.kept_count, 0);
    assert_int_equal(keeps.text.n, 0);
}

static void past_text_is_kept_with_its_length(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "Hello ");
    says(TC_KIND_TEXT, 0, 6, "wor");
    keeps_text("Hello wor", 9);
    assert_int_equal(keeps.kept_count, 1);
    assert_false(thought_seen);
}

static void past_length_counts_surrogate_pairs(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "a" FOX "\xe2\x82\xac");
    says(TC_KIND_TEXT, 0, 4, FOX);
    keeps_text("a" FOX "\xe2\x82\xac" FOX, 6);
}

static void past_what_the_provider_cuts_is_not_kept(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, FOX " b. \n");
    cuts = 2;
    keeps_text(FOX " b.", 5);
}

static void past_reasoning_is_kept_behind_text(void **state) {
    (void)state;
    created();
    says(TC_KIND_REASONING, 0, 0, "hm " FOX);
    says(TC_KIND_TEXT, 0, 0, "Yes");
    keeps_text("Yes", 3);
    assert_true(thought_seen);
    assert_int_equal(keeps.kept_count, 2);
    assert_true(tc_str_is(keeps.kept[1].kind, "reasoning"));
    assert_int_equal(keeps.kept[1].length, 5);
}

static void past_reasoning_alone_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_REASONING, 0, 0, "hm");
    begins_anew_because("no text was said");
}

static void past_half_tool_call_is_not_kept(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "Let me see");
    calls(0, 0, "{\"a\":", false);
    keeps_text("Let me see", 10);
    assert_int_equal(keeps.kept_count, 1);
}

static void past_whole_tool_call_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "Let me see");
    calls(0, 0, "{}", true);
    calls(1, 0, "{\"a\":", false);
    begins_anew_because("a tool was called");
}

static void past_attempts_before_count_as_readers_count_them(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "one two three");
    calls(0, 0, "{}", true);
    take(&(struct tc_event){.type = TC_EV_ATTEMPT,
                            .at = 5,
                            .mode = TC_STR("continue"),
                            .kept = {{.kind = TC_STR("text"), .index = 0, .length = 7}},
                            .kept_count = 1});
    says(TC_KIND_TEXT, 0, 7, " four");
    keeps_text("one two four", 12);
    take(&(struct tc_event){.type = TC_EV_ATTEMPT, .at = 6, .mode = TC_STR("restart")});
    begins_anew_because("no text was said");
    says(TC_KIND_TEXT, 0, 0, "fresh");
    keeps_text("fresh", 5);
}

static void past_repeated_piece_is_kept_once(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    says(TC_KIND_TEXT, 0, 1, "XY");
    keeps_text("aXY", 3);
}

static void past_trimmed_start_begins_anew(void **state) {
    (void)state;
    seq = 4;
    says(TC_KIND_TEXT, 0, 0, "abc");
    begins_anew_because("its start was trimmed");
}

static void past_missing_entry_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    seq++;
    says(TC_KIND_TEXT, 0, 3, "def");
    begins_anew_because("entries are missing");
}

static void past_missing_end_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    seq++;
    begins_anew_because("entries are missing");
}

static void past_hole_in_the_text_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    says(TC_KIND_TEXT, 0, 5, "f");
    begins_anew_because("a piece of the text is missing");
}

static void past_garbage_is_skipped_as_readers_skip_it(void **state) {
    static const char deep[] = "\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91\x91";
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    take_bytes(seq + 1, TC_STR("not MessagePack"));
    take_bytes(seq + 1, (struct tc_str){0}); /* no field e */
    take_bytes(seq + 1, (struct tc_str){deep, sizeof(deep) - 1});
    take_bytes(0, TC_STR("a fence"));
    seq = 6;
    take(&(struct tc_event){.type = TC_EV_UNKNOWN, .type_name = TC_STR("novelty"), .at = 1});
    says(TC_KIND_TEXT, 0, 3, "def");
    keeps_text("abcdef", 6);
}

static void past_other_answers_and_kinds_begin_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    says(TC_KIND_TEXT, 1, 0, "second");
    begins_anew_because("there is more than one answer");
    past_fini(&past);
    (void)set_up(NULL);
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    take(&(struct tc_event){
        .type = TC_EV_DELTA, .at = 3, .kind = TC_KIND_OTHER, .kind_name = TC_STR("audio"), .text = TC_STR("zz")});
    begins_anew_because("there is more than one answer");
}

static void past_larger_than_the_limit_begins_anew(void **state) {
    char text[600];
    (void)state;
    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    created();
    says(TC_KIND_TEXT, 0, 0, text);
    keeps_text(text, 599);
    says(TC_KIND_TEXT, 0, 599, text);
    begins_anew_because("it is larger than this worker's limit");
}

static void past_end_in_the_middle_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    take(&(struct tc_event){.type = TC_EV_DONE, .at = 5, .reason = TC_STR("stop")});
    says(TC_KIND_TEXT, 0, 3, "d");
    begins_anew_because("something follows its end");
}

static void past_provider_that_cannot_begins_anew(void **state) {
    (void)state;
    created();
    says(TC_KIND_TEXT, 0, 0, "abc");
    begins_anew = true;
    begins_anew_because("the provider begins anew");
}

static void past_error_without_done_is_seen_only_at_the_end(void **state) {
    const struct tc_event final = {.type = TC_EV_ERROR, .at = 5, .code = TC_STR("x"), .message = TC_STR("y")};
    const struct tc_event passing = {
        .type = TC_EV_ERROR, .at = 5, .code = TC_STR("x"), .message = TC_STR("y"), .recoverable = true};
    (void)state;
    created();
    take(&passing);
    assert_false(past.error_is_end);
    take(&final);
    assert_true(past.error_is_end);
    take_bytes(0, TC_STR("a fence"));
    assert_true(past.error_is_end);
    seq = 4;
    says(TC_KIND_TEXT, 0, 0, "abc");
    assert_false(past.error_is_end);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(past_text_is_kept_with_its_length),
        T(past_length_counts_surrogate_pairs),
        T(past_what_the_provider_cuts_is_not_kept),
        T(past_reasoning_is_kept_behind_text),
        T(past_reasoning_alone_begins_anew),
        T(past_half_tool_call_is_not_kept),
        T(past_whole_tool_call_begins_anew),
        T(past_attempts_before_count_as_readers_count_them),
        T(past_repeated_piece_is_kept_once),
        T(past_trimmed_start_begins_anew),
        T(past_missing_entry_begins_anew),
        T(past_missing_end_begins_anew),
        T(past_hole_in_the_text_begins_anew),
        T(past_garbage_is_skipped_as_readers_skip_it),
        T(past_other_answers_and_kinds_begin_anew),
        T(past_larger_than_the_limit_begins_anew),
        T(past_end_in_the_middle_begins_anew),
        T(past_provider_that_cannot_begins_anew),
        T(past_error_without_done_is_seen_only_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
