/* What a log says so far. */
#include "wire/fold.h"

#include "tokencast/error.h"
#include "wire_support.h"

static struct tc_position next(struct tc_fold *f) {
    return (struct tc_position){1, f->position.seq + 1};
}

static int delta(struct tc_fold *f, enum tc_kind kind, uint64_t index, uint64_t offset, const char *text) {
    struct tc_event ev = {
        .type = TC_EV_DELTA, .kind = kind, .index = index, .offset = offset, .text = tc_str_from(text)};
    return tc_fold_apply(f, next(f), &ev);
}

static int tool(struct tc_fold *f, uint64_t index, uint64_t offset, const char *arguments, bool done) {
    struct tc_event ev = {
        .type = TC_EV_TOOL_CALL, .index = index, .offset = offset, .arguments = tc_str_from(arguments), .done = done};
    return tc_fold_apply(f, next(f), &ev);
}

static int apply(struct tc_fold *f, struct tc_event ev) {
    return tc_fold_apply(f, next(f), &ev);
}

/* The sum that `bytes` promises to be. */
static size_t counted(const struct tc_fold *f) {
    size_t n = f->usage.len + f->error_code.len + f->error_message.len;
    for (size_t i = 0; i < f->piece_count; i++)
        n += f->pieces[i].text.len;
    for (size_t i = 0; i < f->tool_count; i++)
        n += f->tools[i].id.len + f->tools[i].name.len + f->tools[i].arguments.len;
    return n;
}

static void fold_new_is_queued_and_empty(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_string_equal(tc_fold_state(&f), "queued");
    assert_int_equal(tc_fold_text(&f, TC_KIND_TEXT, 0).n, 0);
    tc_fold_fini(&f);
    tc_fold_fini(&f);
}

static void fold_whole_life_is_remembered(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(
        apply(&f, (struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m"), .channel = TC_STR("room"), .at = 10}),
        0);
    assert_string_equal(tc_fold_state(&f), "queued");
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_START, .provider = TC_STR("openai"), .at = 20}), 0);
    assert_string_equal(tc_fold_state(&f), "running");
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "The"), 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 3, " quick"), 0);
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_DONE,
                                                 .reason = TC_STR("stop"),
                                                 .usage = TC_STR("\x80"),
                                                 .has_ttft = true,
                                                 .ttft_ms = 5,
                                                 .duration_ms = 9,
                                                 .at = 30}),
                     0);
    assert_string_equal(tc_fold_state(&f), "done");
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "The quick");
    assert_string_equal(f.model, "m");
    assert_string_equal(f.channel, "room");
    assert_string_equal(f.provider, "openai");
    assert_string_equal(f.reason, "stop");
    assert_true(f.created_at == 10 && f.started_at == 20 && f.ended_at == 30);
    assert_true(f.has_ttft && f.ttft_ms == 5 && f.duration_ms == 9 && f.try_no == 1);
    assert_buf(&f.usage, "\x80");
    assert_int_equal(f.position.seq, 5);
    assert_int_equal(f.bytes, counted(&f));
    tc_fold_fini(&f);
}

static void fold_same_delta_twice_changes_nothing(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "a\xc3\xa4\xf0\x9f\x98\x80"), 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 4, "z"), 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 4, "z"), 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "a\xc3\xa4\xf0\x9f\x98\x80z");
    assert_int_equal(f.pieces[0].units, 5);
    assert_int_equal(f.bytes, 8);
    tc_fold_fini(&f);
}

static void fold_delta_at_earlier_offset_replaces_the_rest(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "hello world"), 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 5, "!"), 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "hello!");
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, ""), 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "");
    assert_int_equal(f.bytes, 0);
    tc_fold_fini(&f);
}

static void fold_kinds_and_indexes_are_apart(void **state) {
    struct tc_fold f;
    struct tc_event other = {
        .type = TC_EV_DELTA, .kind = TC_KIND_OTHER, .kind_name = TC_STR("audio"), .text = TC_STR("x")};
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "t0"), 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 1, 0, "t1"), 0);
    assert_int_equal(delta(&f, TC_KIND_REASONING, 0, 0, "r0"), 0);
    assert_int_equal(apply(&f, other), 0);
    other.kind_name = TC_STR("video");
    assert_int_equal(apply(&f, other), 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "t0");
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 1), "t1");
    assert_str(tc_fold_text(&f, TC_KIND_REASONING, 0), "r0");
    assert_int_equal(f.piece_count, 5);
    assert_string_equal(f.pieces[2].kind_name, "reasoning");
    assert_string_equal(f.pieces[4].kind_name, "video");
    tc_fold_fini(&f);
}

static void fold_tool_call_grows_and_ends(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(
        apply(&f,
              (struct tc_event){.type = TC_EV_TOOL_CALL, .index = 4, .id = TC_STR("call_1"), .name = TC_STR("search")}),
        0);
    assert_int_equal(tool(&f, 4, 0, "{\"q\":", false), 0);
    assert_int_equal(tool(&f, 4, 5, "1}", true), 0);
    assert_int_equal(f.tool_count, 1);
    assert_buf(&f.tools[0].id, "call_1");
    assert_buf(&f.tools[0].name, "search");
    assert_buf(&f.tools[0].arguments, "{\"q\":1}");
    assert_true(f.tools[0].done);
    assert_string_equal(tc_fold_state(&f), "running");
    assert_int_equal(f.bytes, counted(&f));
    tc_fold_fini(&f);
}

static void fold_attempt_continue_cuts_to_kept_lengths(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0,
                           "a\xf0\x9f\x98\x80"
                           "bc"),
                     0);
    assert_int_equal(delta(&f, TC_KIND_REASONING, 0, 0, "gone"), 0);
    assert_int_equal(tool(&f, 0, 0, "{}", true), 0);
    assert_int_equal(tool(&f, 1, 0, "{\"a\":1}", true), 0);
    assert_int_equal(tool(&f, 2, 0, "{", false), 0);
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_ATTEMPT,
                                                 .try_no = 2,
                                                 .mode = TC_STR("continue"),
                                                 .kept = {{TC_STR("text"), 0, 4},
                                                          {TC_STR("tool_call"), 0, 2},
                                                          {TC_STR("tool_call"), 1, 3}},
                                                 .kept_count = 3}),
                     0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "a\xf0\x9f\x98\x80"
                                                  "b");
    assert_str(tc_fold_text(&f, TC_KIND_REASONING, 0), "");
    assert_int_equal(f.tool_count, 2);
    assert_true(f.tools[0].done);
    assert_buf(&f.tools[1].arguments, "{\"a");
    assert_false(f.tools[1].done);
    assert_int_equal(f.try_no, 2);
    assert_int_equal(f.bytes, counted(&f));
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 4, "!"), 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "a\xf0\x9f\x98\x80"
                                                  "b!");
    tc_fold_fini(&f);
}

static void fold_attempt_restart_forgets_text_and_tools(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "old"), 0);
    assert_int_equal(tool(&f, 0, 0, "{}", true), 0);
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_ATTEMPT,
                                                 .mode = TC_STR("restart"),
                                                 .kept = {{TC_STR("text"), 0, 3}},
                                                 .kept_count = 1}),
                     0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "");
    assert_int_equal(f.tool_count, 0);
    assert_int_equal(f.bytes, 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "new"), 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "new");
    tc_fold_fini(&f);
}

static void fold_fence_changes_nothing(void **state) {
    struct tc_fold f;
    struct tc_event fence = {.type = TC_EV_FENCE, .writer = TC_STR("w")};
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(tc_fold_apply(&f, (struct tc_position){9, 0}, &fence), 0);
    assert_true(f.position.attempt == 0);
    assert_string_equal(tc_fold_state(&f), "queued");
    tc_fold_fini(&f);
}

static void fold_end_reasons_give_their_states(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 1000);
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_ERROR, .code = TC_STR("c"), .message = TC_STR("m")}), 0);
    assert_buf(&f.error_code, "c");
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("error")}), 0);
    assert_string_equal(tc_fold_state(&f), "failed");
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("cancelled")}), 0);
    assert_string_equal(tc_fold_state(&f), "cancelled");
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("length")}), 0);
    assert_string_equal(tc_fold_state(&f), "done");
    tc_fold_fini(&f);
}

static void fold_past_its_bytes_is_too_large_and_keeps_what_it_has(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 10);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "12345678"), 0);
    struct tc_position before = f.position;
    assert_int_equal(delta(&f, TC_KIND_REASONING, 0, 0, "abc"), TC_ETOOLARGE);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 8, "abc"), TC_ETOOLARGE);
    assert_true(tc_position_cmp(f.position, before) == 0);
    assert_str(tc_fold_text(&f, TC_KIND_TEXT, 0), "12345678");
    /* What is replaced does not count. */
    assert_int_equal(delta(&f, TC_KIND_TEXT, 0, 0, "1234567890"), 0);
    assert_int_equal(f.bytes, 10);
    tc_fold_fini(&f);
}

static void fold_too_many_pieces_or_tools_is_too_large(void **state) {
    struct tc_fold f;
    (void)state;
    tc_fold_init(&f, 100000);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(delta(&f, TC_KIND_TEXT, i, 0, "x"), 0);
    assert_int_equal(delta(&f, TC_KIND_TEXT, 64, 0, "x"), TC_ETOOLARGE);
    for (uint64_t i = 0; i < 256; i++)
        assert_int_equal(tool(&f, i, 0, "{}", false), 0);
    assert_int_equal(tool(&f, 256, 0, "{}", false), TC_ETOOLARGE);
    assert_int_equal(f.bytes, counted(&f));
    tc_fold_fini(&f);
}

static void fold_long_names_are_cut_between_characters(void **state) {
    struct tc_fold f;
    char name[200];
    (void)state;
    memset(name, 'm', sizeof(name));
    memcpy(name + 126, "\xc3\xa4", 2);
    tc_fold_init(&f, 1000);
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_CREATED, .model = {name, sizeof(name)}}), 0);
    assert_int_equal(strlen(f.model), 126);
    assert_int_equal(apply(&f, (struct tc_event){.type = TC_EV_DELTA, .kind = TC_KIND_OTHER, .kind_name = {name, 32}}),
                     TC_ETOOLARGE);
    tc_fold_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fold_new_is_queued_and_empty),
        cmocka_unit_test(fold_whole_life_is_remembered),
        cmocka_unit_test(fold_same_delta_twice_changes_nothing),
        cmocka_unit_test(fold_delta_at_earlier_offset_replaces_the_rest),
        cmocka_unit_test(fold_kinds_and_indexes_are_apart),
        cmocka_unit_test(fold_tool_call_grows_and_ends),
        cmocka_unit_test(fold_attempt_continue_cuts_to_kept_lengths),
        cmocka_unit_test(fold_attempt_restart_forgets_text_and_tools),
        cmocka_unit_test(fold_fence_changes_nothing),
        cmocka_unit_test(fold_end_reasons_give_their_states),
        cmocka_unit_test(fold_past_its_bytes_is_too_large_and_keeps_what_it_has),
        cmocka_unit_test(fold_too_many_pieces_or_tools_is_too_large),
        cmocka_unit_test(fold_long_names_are_cut_between_characters),
    };
    return cmocka_run_group_tests_name("fold", tests, NULL, NULL);
}
