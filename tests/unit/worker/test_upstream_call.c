/* Calls to a scripted server that fails in mid-stream or is slow, and recorded streams through the wire. */
#include "upstream_play.h"

#include <stdio.h>

/* ---- failures in mid-stream ---- */

static void reset_in_mid_stream_is_the_end(void **state) {
    SCRIPT(script, SEND(CHUNKED), CHUNK(TEXT("Once")), WAIT(10), RESET);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_eof", true);
    assert_int_equal(w->record.waits, 0);
    assert_true(tc_str_is(tc_buf_str(&w->record.text), "Once"));
}

static void end_without_a_reason_is_a_failure(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("Once")), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_eof", true);
    assert_int_equal(w->server.requests, 1);
}

static void end_after_the_reason_is_fine(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("Once") STOP), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "Once");
}

static void reason_without_an_end_is_waited_for_only_so_long(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("Once") STOP), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "Once");
}

static void malformed_json_ends_the_call(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("Once") "data: {\"choices\":\n\n"), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_error", false);
    while (w->server.gone == 0)
        turn(w);
}

static void giant_line_ends_the_call(void **state) {
    SCRIPT(script, SEND(CLOSED "data: "), {UPSTREAM_FLOOD, "0123456789abcdef0123456789abcdef0123456789abcdef", 0});
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_error", false);
    while (w->server.gone == 0)
        turn(w);
}

static void endless_headers_end_the_call(void **state) {
    SCRIPT(script, SEND("HTTP/1.1 200 OK\r\n"), {UPSTREAM_FLOOD, "X-Filler: 0123456789abcdef0123456789abcdef\r\n", 0});
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_error", false);
}

static void answer_that_is_not_streamed_is_taken_whole(void **state) {
    SCRIPT(script, SEND("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"),
           {UPSTREAM_DRIBBLE,
            " \n{\"model\":\"m\",\"choices\":[{\"message\":{\"content\":\"Hi\"},\"finish_reason\":\"stop\"}]}", 0},
           FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "Hi");
}

static void page_instead_of_an_answer_is_a_failure(void **state) {
    SCRIPT(script, SEND("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>welcome</html>"),
           FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.max_retries = 0;
    serve_one(w, scripts);
    expect_failure(w, "upstream_eof", true);
}

/* ---- time ---- */

static void stall_before_the_first_token_times_out(void **state) {
    SCRIPT(script, SEND(CLOSED ":\n\n"), WAIT(30), SEND(":\n\n"), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.first_token_timeout_ms = 80;
    serve_one(w, scripts);
    expect_failure(w, "upstream_timeout", true);
    assert_int_equal(w->record.begins, 0);
    while (w->server.gone == 0)
        turn(w);
}

static void silence_without_headers_times_out(void **state) {
    SCRIPT(script, HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.first_token_timeout_ms = 50;
    serve_one(w, scripts);
    expect_failure(w, "upstream_timeout", true);
}

static void stall_between_tokens_times_out(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("a")), WAIT(10), SEND(TEXT("b")), WAIT(30), SEND(":\n\n"), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.idle_timeout_ms = 100;
    serve_one(w, scripts);
    expect_failure(w, "upstream_timeout", true);
    assert_true(tc_str_is(tc_buf_str(&w->record.text), "ab"));
}

static void status_with_a_body_that_stalls_is_still_a_status(void **state) {
    SCRIPT(script, SEND("HTTP/1.1 500 Oops\r\nContent-Length: 100\r\n\r\n{"), HANG);
    static const struct upstream_step *const scripts[] = {script, good};
    struct world *w = *state;

    w->opts.first_token_timeout_ms = 200;
    serve(w, scripts, 2);
    start(w);
    expect_text(w, "Hi");
    assert_int_equal(w->record.waits, 1);
}

static void slow_headers_are_read(void **state) {
    SCRIPT(script, {UPSTREAM_DRIBBLE, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 0}, SEND(TEXT("Hi") STOP DONE),
           FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "Hi");
}

static void characters_split_over_segments_stay_whole(void **state) {
    SCRIPT(script, SEND(CLOSED),
           {UPSTREAM_DRIBBLE,
            TEXT("gr\xc3\xbc\xc3\x9f"
                 "e \xf0\x9f\x9a\x80") STOP DONE,
            0},
           FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "gr\xc3\xbc\xc3\x9f"
                   "e \xf0\x9f\x9a\x80");
}

/* ---- recorded streams, through curl ---- */

static char *load(const char *name) {
    char path[512];
    struct tc_buf out;

    snprintf(path, sizeof(path), "%s/fixtures/%s", TC_TESTS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    tc_buf_init(&out, 0);
    for (int c; (c = fgetc(f)) != EOF;)
        tc_buf_putc(&out, (char)c);
    fclose(f);
    return tc_buf_take_cstr(&out);
}

static void recorded_streams_come_through_the_wire(void **state) {
    static const char *const names[] = {"openai/chat",          "openai/tools",   "vllm/reasoning",
                                        "vllm/error_then_done", "tgi/chat",       "ollama/tools_without_index",
                                        "llamacpp/crlf_bom",    "llamacpp/pings", "mistral/parts",
                                        "openai/no_done"};
    struct world *w = *state;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char file[128];
        snprintf(file, sizeof(file), "%s.sse", names[i]);
        char *stream = load(file);
        snprintf(file, sizeof(file), "%s.jsonl", names[i]);
        char *want = load(file);
        const struct upstream_step script[] = {SEND(CLOSED), {UPSTREAM_DRIBBLE, stream, 0}, FIN};
        const struct upstream_step *const scripts[] = {script};

        tc_buf_reset(&w->record.lines);
        json_decref(w->record.usage);
        w->record.usage = NULL;
        w->record.ends = 0;
        serve_one(w, scripts);
        run_to_end(w);
        assert_true(tc_str_is(tc_buf_str(&w->record.lines), want));
        free_call(w);
        run_for(w, 5);
        free(stream);
        free(want);
    }
}

int main(void) {
    quiet_environment();
    const struct CMUnitTest tests[] = {
        TEST(reset_in_mid_stream_is_the_end),
        TEST(end_without_a_reason_is_a_failure),
        TEST(end_after_the_reason_is_fine),
        TEST(reason_without_an_end_is_waited_for_only_so_long),
        TEST(malformed_json_ends_the_call),
        TEST(giant_line_ends_the_call),
        TEST(endless_headers_end_the_call),
        TEST(answer_that_is_not_streamed_is_taken_whole),
        TEST(page_instead_of_an_answer_is_a_failure),
        TEST(stall_before_the_first_token_times_out),
        TEST(silence_without_headers_times_out),
        TEST(stall_between_tokens_times_out),
        TEST(status_with_a_body_that_stalls_is_still_a_status),
        TEST(slow_headers_are_read),
        TEST(characters_split_over_segments_stay_whole),
        TEST(recorded_streams_come_through_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
