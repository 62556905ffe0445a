/* Recorded streams of every server in tests/fixtures against what the sink must be told: whole, cut in two at every
 * byte, and byte by byte. TC_UPDATE_FIXTURES=1 writes the expectations anew, for reading before they are kept. */
#include "base/buf.h"
#include "provider/dialect.h"
#include "provider/sse.h"
#include "upstream_record.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const char *const servers[] = {"openai",   "vllm",    "tgi",        "ollama",
                                      "llamacpp", "mistral", "openrouter", "anthropic"};

static void unused_end(void *arg, const struct provider_end *end) {
    (void)arg;
    (void)end;
    fail_msg("a dialect never ends a call");
}

static const struct provider_sink sink = {
    .on_begin = upstream_record_begin,
    .on_wait = upstream_record_wait,
    .on_text = upstream_record_text,
    .on_tool = upstream_record_tool,
    .on_note = upstream_record_note,
    .on_end = unused_end,
};

struct reader {
    const struct dialect *dialect;
    struct answer answer;
    struct sse sse;
};

static bool on_event(void *arg, struct tc_str name, struct tc_str data) {
    struct reader *r = arg;
    r->dialect->event(&r->answer, name, data);
    return !r->answer.failed && !r->answer.ended;
}

static void feed(struct reader *r, const char *p, size_t n) {
    size_t used = 0;

    if (r->answer.failed || r->answer.ended || n == 0)
        return;
    assert_int_equal(sse_feed(&r->sse, (struct tc_str){p, n}, &used), 0);
    if (!r->answer.failed && !r->answer.ended)
        assert_int_equal(used, n);
}

/* What a call would make of the end of the stream. */
static void finish(struct reader *r, struct upstream_record *record) {
    struct answer *a = &r->answer;

    if (!a->failed && !a->ended)
        sse_finish(&r->sse);
    if (a->failed)
        upstream_record_end(record, "error", a->code, a->message, a->recoverable, 0, NULL);
    else if (answer_finished(a))
        upstream_record_end(record, a->reason, NULL, NULL, false, 0, a->usage);
    else
        upstream_record_end(record, "error", "upstream_eof", "", true, 0, NULL);
}

/* The sink calls for the bytes handed over in steps of `step` after a first one of `first`. */
static char *play(const struct dialect *dialect, uint32_t choices, struct tc_str bytes, size_t first, size_t step) {
    struct upstream_record record;
    struct reader r = {.dialect = dialect};

    upstream_record_init(&record);
    answer_init(&r.answer, &sink, &record, "gen_1", choices);
    sse_init(&r.sse, on_event, &r);
    feed(&r, bytes.p, first);
    for (size_t at = first; at < bytes.n; at += step)
        feed(&r, bytes.p + at, bytes.n - at < step ? bytes.n - at : step);
    finish(&r, &record);
    sse_fini(&r.sse);
    answer_fini(&r.answer);
    char *out = tc_buf_take_cstr(&record.lines);
    upstream_record_fini(&record);
    assert_non_null(out);
    return out;
}

static bool load(struct tc_buf *out, const char *path) {
    FILE *f = fopen(path, "rb");

    tc_buf_init(out, 0);
    if (!f)
        return false;
    for (int c; (c = fgetc(f)) != EOF;)
        tc_buf_putc(out, (char)c);
    fclose(f);
    return tc_buf_ok(out);
}

static void expect(const char *path, const char *got, const char *how) {
    struct tc_buf want;

    if (getenv("TC_UPDATE_FIXTURES")) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fputs(got, f);
        fclose(f);
    }
    if (!load(&want, path))
        fail_msg("%s is missing", path);
    if (want.len != strlen(got) || memcmp(want.data, got, want.len) != 0)
        fail_msg("%s, %s: got\n%s", path, how, got);
    tc_buf_fini(&want);
}

static void check_fixture(const char *server, const char *name) {
    const struct dialect *dialect = strcmp(server, "anthropic") == 0 ? &dialect_anthropic : &dialect_openai;
    uint32_t choices = strstr(name, "two_choices") ? 2 : 1;
    struct tc_buf bytes;
    char path[512], want[512];

    snprintf(path, sizeof(path), "%s/fixtures/%s/%s", TC_TESTS_DIR, server, name);
    snprintf(want, sizeof(want), "%.*s.jsonl", (int)(strlen(path) - 4), path);
    assert_true(load(&bytes, path));

    char *whole = play(dialect, choices, tc_buf_str(&bytes), bytes.len, 1);
    expect(want, whole, "whole");
    for (size_t cut = 0; cut < bytes.len; cut++) {
        char *parts = play(dialect, choices, tc_buf_str(&bytes), cut, bytes.len);
        if (strcmp(parts, whole) != 0)
            fail_msg("%s, cut at %zu: got\n%s", path, cut, parts);
        free(parts);
    }
    char *single = play(dialect, choices, tc_buf_str(&bytes), 0, 1);
    assert_string_equal(single, whole);
    free(single);
    free(whole);
    tc_buf_fini(&bytes);
}

static void every_recorded_stream_cut_anywhere_tells_the_same(void **state) {
    unsigned seen = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(servers) / sizeof(servers[0]); i++) {
        char path[512];
        snprintf(path, sizeof(path), "%s/fixtures/%s", TC_TESTS_DIR, servers[i]);
        DIR *dir = opendir(path);
        assert_non_null(dir);
        for (struct dirent *e; (e = readdir(dir));) {
            size_t n = strlen(e->d_name);
            if (n < 5 || strcmp(e->d_name + n - 4, ".sse") != 0)
                continue;
            check_fixture(servers[i], e->d_name);
            seen++;
        }
        closedir(dir);
    }
    assert_in_range(seen, 40, 1000);
}

static char *play_text(const struct dialect *dialect, const char *text) {
    return play(dialect, 1, tc_str_from(text), strlen(text), 1);
}

static void invalid_utf8_in_text_becomes_a_replacement_character(void **state) {
    (void)state;
    char *got = play_text(&dialect_openai, "data: {\"choices\":[{\"delta\":{\"content\":\"a\xf0\x9f\"}}]}\n\n");
    assert_non_null(strstr(got, "a\xef\xbf\xbd\xef\xbf\xbd"));
    free(got);
}

static void too_many_tool_calls_end_the_answer(void **state) {
    struct tc_buf text;

    (void)state;
    tc_buf_init(&text, 0);
    for (int i = 0; i <= ANSWER_TOOLS_MAX; i++)
        tc_buf_printf(&text,
                      "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":%d,\"id\":\"c%d\",\"function\":"
                      "{\"name\":\"f\",\"arguments\":\"\"}}]}}]}\n\n",
                      i, i);
    tc_buf_putc(&text, 0);
    char *got = play_text(&dialect_openai, text.data);
    assert_non_null(strstr(got, "too many tool calls"));
    free(got);
    tc_buf_fini(&text);
}

static void choice_index_out_of_range_ends_the_answer(void **state) {
    (void)state;
    char *got =
        play_text(&dialect_openai, "data: {\"choices\":[{\"index\":4000000000,\"delta\":{\"content\":\"x\"}}]}\n\n");
    assert_non_null(strstr(got, "upstream_error"));
    free(got);
}

static void arguments_before_the_name_wait_for_it(void **state) {
    (void)state;
    char *got = play_text(&dialect_openai,
                          "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":"
                          "{\"arguments\":\"{\"}}]}}]}\n\n"
                          "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":"
                          "{\"name\":\"f\",\"arguments\":\"}\"}}]},\"finish_reason\":\"tool_calls\"}]}\n\n");
    assert_string_equal(got,
                        "{\"call\":\"begin\",\"model\":null}\n"
                        "{\"arguments\":\"{}\",\"call\":\"tool\",\"done\":false,\"id\":\"c\",\"index\":0,\"name\":"
                        "\"f\"}\n"
                        "{\"arguments\":\"\",\"call\":\"tool\",\"done\":true,\"id\":\"\",\"index\":0,\"name\":\"\"}\n"
                        "{\"call\":\"end\",\"reason\":\"tool_calls\",\"usage\":null}\n");
    free(got);
}

static void oversized_usage_is_left_out(void **state) {
    struct tc_buf text;

    (void)state;
    tc_buf_init(&text, 0);
    tc_buf_puts(&text,
                "data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}],\"usage\":{\"a\":\"");
    for (int i = 0; i < ANSWER_USAGE_MAX; i++)
        tc_buf_putc(&text, 'x');
    tc_buf_puts(&text, "\"}}\n\n");
    tc_buf_putc(&text, 0);
    char *got = play_text(&dialect_openai, text.data);
    assert_non_null(strstr(got, "\"reason\":\"stop\",\"usage\":null"));
    free(got);
    tc_buf_fini(&text);
}

static char *play_whole(const struct dialect *dialect, const char *text) {
    struct upstream_record record;
    struct reader r = {.dialect = dialect};
    json_t *root = json_loads(text, 0, NULL);

    assert_non_null(root);
    upstream_record_init(&record);
    answer_init(&r.answer, &sink, &record, "gen_1", 1);
    sse_init(&r.sse, on_event, &r);
    dialect->whole(&r.answer, root);
    json_decref(root);
    finish(&r, &record);
    sse_fini(&r.sse);
    answer_fini(&r.answer);
    char *out = tc_buf_take_cstr(&record.lines);
    upstream_record_fini(&record);
    return out;
}

static void whole_openai_answer_reads_like_a_stream(void **state) {
    (void)state;
    char *got =
        play_whole(&dialect_openai,
                   "{\"object\":\"chat.completion\",\"model\":\"m\",\"choices\":[{\"index\":0,\"message\":{"
                   "\"role\":\"assistant\",\"content\":\"Hi\",\"tool_calls\":[{\"id\":\"c\",\"type\":\"function\","
                   "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},\"finish_reason\":\"tool_calls\"}],"
                   "\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}");
    assert_non_null(strstr(got, "\"text\":\"Hi\""));
    assert_non_null(strstr(got, "\"name\":\"f\""));
    assert_non_null(strstr(got, "\"reason\":\"tool_calls\""));
    assert_non_null(strstr(got, "\"input_tokens\":1"));
    free(got);
}

static void whole_anthropic_answer_reads_like_a_stream(void **state) {
    (void)state;
    char *got = play_whole(&dialect_anthropic,
                           "{\"type\":\"message\",\"model\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"},"
                           "{\"type\":\"tool_use\",\"id\":\"t\",\"name\":\"f\",\"input\":{\"a\":1}}],"
                           "\"stop_reason\":\"tool_use\",\"usage\":{\"input_tokens\":3,\"output_tokens\":4}}");
    assert_non_null(strstr(got, "\"text\":\"Hi\""));
    assert_non_null(strstr(got, "{\\\"a\\\":1}"));
    assert_non_null(strstr(got, "\"total_tokens\":7"));
    free(got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_stream_cut_anywhere_tells_the_same),
        cmocka_unit_test(invalid_utf8_in_text_becomes_a_replacement_character),
        cmocka_unit_test(too_many_tool_calls_end_the_answer),
        cmocka_unit_test(choice_index_out_of_range_ends_the_answer),
        cmocka_unit_test(arguments_before_the_name_wait_for_it),
        cmocka_unit_test(oversized_usage_is_left_out),
        cmocka_unit_test(whole_openai_answer_reads_like_a_stream),
        cmocka_unit_test(whole_anthropic_answer_reads_like_a_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
