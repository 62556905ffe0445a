/* Calls through libcurl to a scripted server: the request, keys, and what is tried again. */
#include "tokencast/error.h"
#include "upstream_play.h"

#include <stdio.h>
#include <unistd.h>

/* ---- the request ---- */

static void request_carries_body_key_and_route(void **state) {
    static const struct upstream_step *const scripts[] = {good};
    struct world *w = *state;
    char path[] = "/tmp/tc-key-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "  key-one\n", 10), 10);
    w->opts.api_key_file = path;
    serve_one(w, scripts);
    expect_text(w, "Hi");
    assert_non_null(strstr(w->server.request.data, "POST /v1/chat/completions HTTP/1.1\r\n"));
    assert_non_null(strstr(w->server.request.data, "Authorization: Bearer key-one\r\n"));
    assert_non_null(strstr(w->server.request.data, "\"stream\":true"));
    assert_null(strstr(w->server.request.data, "Expect:"));
    assert_int_equal(json_integer_value(json_object_get(w->record.usage, "input_tokens")), 1);

    /* A rotated key is used by the next call. */
    assert_int_equal(pwrite(fd, "  key-two\n", 10, 0), 10);
    free_call(w);
    tc_buf_reset(&w->record.lines);
    w->record.ends = 0;
    start(w);
    run_to_end(w);
    assert_non_null(strstr(w->server.request.data, "Authorization: Bearer key-two\r\n"));
    close(fd);
    unlink(path);
}

#define PARENT "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void request_of_a_trace_carries_it(void **state) {
    static const struct upstream_step *const scripts[] = {good};
    struct world *w = *state;

    tc_trace_take(&w->trace, TC_STR(PARENT), TC_STR("vendor=a b,other=c"));
    serve_one(w, scripts);
    expect_text(w, "Hi");
    assert_non_null(strstr(w->server.request.data, "\r\ntraceparent: " PARENT "\r\n"));
    assert_non_null(strstr(w->server.request.data, "\r\ntracestate: vendor=a b,other=c\r\n"));
}

static void request_without_a_trace_names_none(void **state) {
    static const struct upstream_step *const scripts[] = {good};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "Hi");
    assert_null(strstr(w->server.request.data, "trace"));
}

static void unreadable_key_ends_the_call(void **state) {
    static const struct upstream_step *const scripts[] = {good};
    struct world *w = *state;

    w->opts.api_key_file = "/nonexistent/key";
    serve_one(w, scripts);
    expect_failure(w, "upstream_key", true);
    assert_int_equal(w->server.connections, 0);
}

static void key_with_a_line_break_is_never_sent(void **state) {
    static const struct upstream_step *const scripts[] = {good};
    struct world *w = *state;
    char path[] = "/tmp/tc-key-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "key\nX: y\n", 9), 9);
    close(fd);
    w->opts.api_key_file = path;
    serve_one(w, scripts);
    expect_failure(w, "upstream_key", true);
    assert_int_equal(w->server.connections, 0);
    unlink(path);
}

static void anthropic_speaks_its_own_dialect(void **state) {
    SCRIPT(script,
           SEND(CLOSED
                "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c\"}}\n\n"
                "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"
                "\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
                "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}"
                "\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
           HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.kind = "anthropic";
    serve_one(w, scripts);
    expect_text(w, "Hi");
    assert_string_equal(provider_kind(w->provider), "anthropic");
    assert_non_null(strstr(w->server.request.data, "POST /v1/messages HTTP/1.1\r\n"));
    assert_non_null(strstr(w->server.request.data, "anthropic-version: 2023-06-01\r\n"));
}

static void request_that_cannot_be_sent_is_refused_at_once(void **state) {
    struct world *w = *state;
    json_t *root = json_object();
    struct provider_call *call;

    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), 0);
    assert_int_equal(provider_call_start(&call, w->provider, root, TC_STR(""), "g", &w->trace, &sink, &w->record),
                     TC_EINVAL);
    json_object_set_new(root, "prompt", json_string("x"));
    assert_int_equal(provider_call_start(&call, w->provider, root, TC_STR("half"), "g", &w->trace, &sink, &w->record),
                     TC_EINVAL);
    json_decref(root);
}

static void provider_with_a_bad_upstream_is_refused(void **state) {
    struct world *w = *state;

    w->opts.upstream = "ftp://x";
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), TC_EINVAL);
    w->opts.upstream = NULL;
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), TC_EINVAL);
    w->opts.kind = "oracle";
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), TC_EINVAL);
    w->provider = NULL;
}

/* ---- retries ---- */

SCRIPT(limited,
       SEND(REFUSAL("429 Too Many Requests", "Retry-After: 60\r\n", "{\"error\":{\"message\":\"slow down\"}}")), FIN);
SCRIPT(broken, SEND(REFUSAL("503 Service Unavailable", "", "<html>no</html>")), FIN);
SCRIPT(overloaded, SEND(REFUSAL("529 Overloaded", "retry-after-ms: 7\r\n", "{}")), FIN);

static void limit_then_success_waits_as_asked(void **state) {
    static const struct upstream_step *const scripts[] = {limited, good};
    struct world *w = *state;

    serve_one(w, scripts);
    serve(w, scripts, 2);
    expect_text(w, "Hi");
    assert_int_equal(w->record.waits, 1);
    assert_int_equal(w->record.wait_ms, 200); /* a minute was asked for; the cap is ten times the longest back-off */
    assert_string_equal(w->record.wait_why, "The model server answered 429: slow down");
}

static void milliseconds_asked_for_are_honoured(void **state) {
    static const struct upstream_step *const scripts[] = {overloaded, good};
    struct world *w = *state;

    serve(w, scripts, 2);
    start(w);
    expect_text(w, "Hi");
    assert_in_range(w->record.wait_ms, 7, 9);
}

static void errors_until_retries_are_used_up_end_the_call(void **state) {
    static const struct upstream_step *const scripts[] = {broken};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_status", true);
    assert_int_equal(w->record.waits, 2);
    assert_int_equal(w->server.requests, 3);
    assert_string_equal(w->record.message, "The model server answered 503.");
}

static void last_refusal_tells_when_to_come_back(void **state) {
    static const struct upstream_step *const scripts[] = {limited};
    struct world *w = *state;

    w->opts.max_retries = 0;
    serve_one(w, scripts);
    expect_failure(w, "upstream_status", true);
    assert_int_equal(w->record.retry_after_ms, 60000);
}

static void refusal_of_the_request_is_final(void **state) {
    SCRIPT(script, SEND(REFUSAL("400 Bad Request", "", "{\"error\":{\"message\":\"no such field\"}}")), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_status", false);
    assert_int_equal(w->server.requests, 1);
    assert_string_equal(w->record.message, "The model server answered 400: no such field");
}

static void refused_key_is_not_described(void **state) {
    SCRIPT(script, SEND(REFUSAL("401 Unauthorized", "", "{\"error\":{\"message\":\"bad key sk-12345678\"}}")), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_status", false);
    assert_null(strstr(w->record.message, "sk-"));
}

static void endless_error_body_is_cut(void **state) {
    SCRIPT(script, SEND("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
           {UPSTREAM_FLOOD, "0123456789abcdef", 0});
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_failure(w, "upstream_status", false);
}

static void server_that_is_away_is_asked_again(void **state) {
    struct world *w = *state;
    char url[64];

    /* A port that was free a moment ago and is not listened on. */
    snprintf(url, sizeof(url), "%s", w->server.url);
    w->opts.upstream = url;
    upstream_server_stop(&w->server);
    run_for(w, 5);
    start(w);
    expect_failure(w, "upstream_connect", true);
    assert_int_equal(w->record.waits, 2);
}

static void reset_before_the_first_token_is_tried_again(void **state) {
    SCRIPT(at_once, RESET);
    SCRIPT(after_head, SEND(CHUNKED), WAIT(5), RESET);
    static const struct upstream_step *const scripts[] = {at_once, after_head, good};
    struct world *w = *state;

    serve(w, scripts, 3);
    start(w);
    expect_text(w, "Hi");
    assert_int_equal(w->record.waits, 2);
}

static void error_event_before_the_first_token_is_tried_again(void **state) {
    SCRIPT(script,
           SEND(CLOSED "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
                       "data: {\"error\":{\"message\":\"busy\",\"code\":503}}\n\n" DONE),
           FIN);
    static const struct upstream_step *const scripts[] = {script, good};
    struct world *w = *state;

    serve(w, scripts, 2);
    start(w);
    expect_text(w, "Hi"); /* begun once, although two servers' answers began */
    assert_int_equal(w->record.waits, 1);
}

static void freed_while_it_waits_to_retry_is_quiet(void **state) {
    static const struct upstream_step *const scripts[] = {broken};
    struct world *w = *state;

    w->opts.backoff_min_ms = w->opts.backoff_max_ms = 60000;
    serve_one(w, scripts);
    while (w->record.waits == 0)
        turn(w);
    free_call(w);
    run_for(w, 20);
    assert_int_equal(w->record.ends, 0);
}

int main(void) {
    quiet_environment();
    const struct CMUnitTest tests[] = {
        TEST(request_carries_body_key_and_route),
        TEST(request_of_a_trace_carries_it),
        TEST(request_without_a_trace_names_none),
        TEST(unreadable_key_ends_the_call),
        TEST(key_with_a_line_break_is_never_sent),
        TEST(anthropic_speaks_its_own_dialect),
        TEST(request_that_cannot_be_sent_is_refused_at_once),
        TEST(provider_with_a_bad_upstream_is_refused),
        TEST(limit_then_success_waits_as_asked),
        TEST(milliseconds_asked_for_are_honoured),
        TEST(errors_until_retries_are_used_up_end_the_call),
        TEST(last_refusal_tells_when_to_come_back),
        TEST(refusal_of_the_request_is_final),
        TEST(refused_key_is_not_described),
        TEST(endless_error_body_is_cut),
        TEST(server_that_is_away_is_asked_again),
        TEST(reset_before_the_first_token_is_tried_again),
        TEST(error_event_before_the_first_token_is_tried_again),
        TEST(freed_while_it_waits_to_retry_is_quiet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
