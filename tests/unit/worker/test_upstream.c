/* Calls through libcurl to a scripted server: retries, time-outs, backpressure, aborts, and every recorded stream. */
#include "base/clock.h"
#include "provider/provider.h"
#include "tokencast/error.h"
#include "upstream_record.h"
#include "upstream_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HANG_MS 20000 /* no test takes nearly as long */

#define HEAD    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
#define CLOSED  HEAD "Connection: close\r\n\r\n"
#define CHUNKED HEAD "Transfer-Encoding: chunked\r\n\r\n"
#define TEXT(t) "data: {\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" t "\"}}]}\n\n"
#define STOP    "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define USAGE   "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n"
#define DONE    "data: [DONE]\n\n"
#define REFUSAL(status, more, body) "HTTP/1.1 " status "\r\n" more "Connection: close\r\n\r\n" body

#define SCRIPT(name, ...) static const struct upstream_step name[] = {__VA_ARGS__, {UPSTREAM_END, NULL, 0}}
#define SEND(b)           {UPSTREAM_SEND, b, 0}
#define CHUNK(b)          {UPSTREAM_CHUNK, b, 0}
#define WAIT(ms)          {UPSTREAM_WAIT, NULL, ms}
#define FIN               {UPSTREAM_FIN, NULL, 0}
#define HANG              {UPSTREAM_HANG, NULL, 0}
#define RESET             {UPSTREAM_RESET, NULL, 0}

SCRIPT(good, SEND(CLOSED TEXT("Hi") STOP USAGE DONE), FIN);

struct world {
    uv_loop_t loop;
    uv_timer_t watchdog;
    uint64_t deadline; /* monotonic microseconds */
    struct upstream_server server;
    struct provider_options opts;
    struct provider *provider;
    struct provider_call *call;
    struct upstream_record record;
    bool provider_closed;
    bool hung;
    bool free_in_end, pause_in_text, free_in_text;
};

/* Ticks, because UV_RUN_ONCE may block behind a timer that already did what the test waits for. */
static void on_watchdog(uv_timer_t *timer) {
    struct world *w = timer->data;
    w->hung = tc_mono_us() > w->deadline;
}

static void on_end(void *arg, const struct provider_end *e) {
    upstream_record_end(arg, e->reason, e->code, e->message, e->recoverable, e->retry_after_ms, e->usage);
}

static const struct provider_sink sink = {
    .on_begin = upstream_record_begin,
    .on_wait = upstream_record_wait,
    .on_text = upstream_record_text,
    .on_tool = upstream_record_tool,
    .on_note = upstream_record_note,
    .on_end = on_end,
};

static void free_call(struct world *w) {
    if (w->call)
        provider_call_free(w->call);
    w->call = NULL;
}

/* At the end of each call to the sink. */
static void on_told(void *arg) {
    struct world *w = arg;

    if (w->call && w->pause_in_text && w->record.texts > 0)
        provider_call_pause(w->call);
    if ((w->free_in_text && w->record.texts > 0) || (w->free_in_end && w->record.ends > 0))
        free_call(w);
}

static int set_up(void **state) {
    struct world *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    uv_loop_init(&w->loop);
    uv_timer_init(&w->loop, &w->watchdog);
    w->watchdog.data = w;
    w->deadline = tc_mono_us() + (uint64_t)HANG_MS * 1000;
    uv_timer_start(&w->watchdog, on_watchdog, 5, 5);
    upstream_server_start(&w->server, &w->loop);
    upstream_record_init(&w->record);
    w->record.hook = on_told;
    w->record.hook_arg = w;
    w->opts = (struct provider_options){
        .kind = "openai",
        .upstream = w->server.url,
        .model = "m",
        .connect_timeout_ms = 5000,
        .first_token_timeout_ms = 10000,
        .idle_timeout_ms = 10000,
        .max_retries = 2,
        .backoff_min_ms = 5,
        .backoff_max_ms = 20,
    };
    *state = w;
    return 0;
}

static void turn(struct world *w) {
    uv_run(&w->loop, UV_RUN_ONCE);
    if (w->hung)
        fail_msg("hangs; told so far:\n%.*s", (int)w->record.lines.len, w->record.lines.data ? w->record.lines.data : "");
}

static void on_provider_closed(void *arg) {
    struct world *w = arg;
    w->provider_closed = true;
}

static int tear_down(void **state) {
    struct world *w = *state;

    free_call(w);
    if (w->provider) {
        provider_close(w->provider, on_provider_closed, w);
        while (!w->provider_closed)
            turn(w);
    }
    upstream_server_stop(&w->server);
    uv_close((uv_handle_t *)&w->watchdog, NULL);
    for (int i = 0; uv_loop_alive(&w->loop); i++) {
        assert_in_range(i, 0, 10000);
        uv_run(&w->loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(uv_loop_close(&w->loop), 0);
    upstream_server_fini(&w->server);
    upstream_record_fini(&w->record);
    free(w);
    return 0;
}

static void start_request(struct world *w, const char *request) {
    json_t *root = json_loads(request, 0, NULL);
    struct tc_str none = {NULL, 0};

    assert_non_null(root);
    if (!w->provider)
        assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), 0);
    assert_int_equal(provider_call_start(&w->call, w->provider, root, none, "gen_1", &sink, &w->record), 0);
    assert_int_equal(w->record.lines.len, 0); /* nothing is told from inside start */
    json_decref(root);
}

static void start(struct world *w) {
    start_request(w, "{\"prompt\":\"x\"}");
}

static void run_to_end(struct world *w) {
    while (w->record.ends == 0)
        turn(w);
}

static void serve(struct world *w, const struct upstream_step *const *scripts, size_t n) {
    upstream_server_scripts(&w->server, scripts, n);
}

static void serve_one(struct world *w, const struct upstream_step *const *script) {
    serve(w, script, 1);
    start(w);
}

static void expect_failure(struct world *w, const char *code, bool recoverable) {
    run_to_end(w);
    assert_string_equal(w->record.reason, "error");
    assert_string_equal(w->record.code, code);
    assert_int_equal(w->record.recoverable, recoverable);
    assert_in_range(strlen(w->record.message), 10, 600);
}

static void expect_text(struct world *w, const char *text) {
    run_to_end(w);
    assert_string_equal(w->record.code, "");
    assert_string_equal(w->record.reason, "stop");
    assert_true(tc_str_is(tc_buf_str(&w->record.text), text));
    assert_int_equal(w->record.begins, 1);
}

/* Runs the loop for some time without an end. */
static void run_for(struct world *w, unsigned ms) {
    uint64_t until = tc_mono_us() + (uint64_t)ms * 1000;

    while (tc_mono_us() < until) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
}

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
           SEND(CLOSED "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"c\"}}\n\n"
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
    assert_int_equal(provider_call_start(&call, w->provider, root, TC_STR(""), "g", &sink, &w->record), TC_EINVAL);
    json_object_set_new(root, "prompt", json_string("x"));
    assert_int_equal(provider_call_start(&call, w->provider, root, TC_STR("half"), "g", &sink, &w->record), TC_EINVAL);
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

SCRIPT(limited, SEND(REFUSAL("429 Too Many Requests", "Retry-After: 60\r\n", "{\"error\":{\"message\":\"slow down\"}}")), FIN);
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
    SCRIPT(script, SEND("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), {UPSTREAM_FLOOD, "0123456789abcdef", 0});
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
    SCRIPT(script, SEND(CLOSED "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n"
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
    SCRIPT(script, SEND("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>welcome</html>"), FIN);
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
    SCRIPT(script, {UPSTREAM_DRIBBLE, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", 0}, SEND(TEXT("Hi") STOP DONE), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "Hi");
}

static void characters_split_over_segments_stay_whole(void **state) {
    SCRIPT(script, SEND(CLOSED),
           {UPSTREAM_DRIBBLE, TEXT("gr\xc3\xbc\xc3\x9f"
                                   "e \xf0\x9f\x9a\x80") STOP DONE,
            0},
           FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    expect_text(w, "gr\xc3\xbc\xc3\x9f"
                   "e \xf0\x9f\x9a\x80");
}

/* ---- holding, aborting, reusing ---- */

static void pause_stops_reading_and_time(void **state) {
    struct world *w = *state;
    struct tc_buf flood;

    tc_buf_init(&flood, 0);
    for (int i = 0; i < 1000; i++)
        tc_buf_puts(&flood, TEXT("0123456789abcdef0123456789abcdef0123456789abcdef"));
    char *many = tc_buf_take_cstr(&flood);
    const struct upstream_step script[] = {SEND(CLOSED), {UPSTREAM_FLOOD, many, 0}};
    const struct upstream_step *const scripts[] = {script};

    w->opts.idle_timeout_ms = 100;
    w->pause_in_text = true;
    serve_one(w, scripts);
    while (w->record.texts == 0)
        turn(w);
    /* The kernel's buffers fill up, then the server cannot send any more; meanwhile the idle time-out passes. */
    size_t before;
    do {
        before = w->server.flooded;
        run_for(w, 150);
    } while (w->server.flooded != before);
    assert_int_equal(w->record.texts, 1);
    assert_int_equal(w->record.ends, 0);
    assert_int_equal(w->server.gone, 0);

    w->pause_in_text = false;
    provider_call_resume(w->call);
    assert_int_equal(w->record.texts, 1); /* nothing is told from inside resume */
    while (w->server.flooded < before + 100000)
        turn(w);
    assert_in_range(w->record.texts, 1000, 100000000);
    free_call(w);
    upstream_server_stop(&w->server);
    run_for(w, 5);
    free(many);
}

static void pause_between_events_holds_the_rest(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("a") TEXT("b") STOP DONE), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->pause_in_text = true;
    serve_one(w, scripts);
    while (w->record.texts == 0)
        turn(w);
    run_for(w, 30);
    assert_int_equal(w->record.texts, 1);
    provider_call_resume(w->call);
    provider_call_resume(w->call);
    while (w->record.texts < 2)
        turn(w);
    run_for(w, 30);
    assert_int_equal(w->record.ends, 0);
    w->pause_in_text = false;
    provider_call_resume(w->call);
    expect_text(w, "ab");
}

static void idle_time_rests_while_paused(void **state) {
    SCRIPT(script, SEND(CLOSED TEXT("a")), WAIT(250), SEND(TEXT("b") STOP DONE), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.idle_timeout_ms = 100;
    serve_one(w, scripts);
    while (w->record.texts == 0)
        turn(w);
    provider_call_pause(w->call);
    run_for(w, 300);
    assert_int_equal(w->record.ends, 0);
    provider_call_resume(w->call);
    expect_text(w, "ab");
}

static void paused_from_the_start_tells_nothing(void **state) {
    static const struct upstream_step *const scripts[] = {good};
    struct world *w = *state;

    serve_one(w, scripts);
    provider_call_pause(w->call);
    while (w->server.requests == 0)
        turn(w);
    run_for(w, 30);
    assert_int_equal(w->record.lines.len, 0);
    provider_call_resume(w->call);
    expect_text(w, "Hi");
}

static void abort_closes_the_connection_at_once(void **state) {
    SCRIPT(script, SEND(CHUNKED), CHUNK(TEXT("a")), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve_one(w, scripts);
    while (w->record.texts == 0)
        turn(w);
    free_call(w);
    uint64_t from = tc_mono_us();
    while (w->server.gone == 0)
        turn(w);
    assert_in_range(tc_mono_us() - from, 0, 200 * 1000);
    assert_int_equal(w->record.ends, 0);
}

static void freed_at_any_moment_leaves_nothing_behind(void **state) {
    SCRIPT(script, SEND(CHUNKED), WAIT(1), CHUNK(TEXT("a")), CHUNK(TEXT("b")), WAIT(1), CHUNK(STOP DONE), CHUNK(""));
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve(w, scripts, 1);
    for (int turns = 0; turns < 40; turns++) {
        tc_buf_reset(&w->record.lines);
        start(w);
        for (int i = 0; i < turns; i++)
            uv_run(&w->loop, i % 2 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
        unsigned ends = w->record.ends, texts = w->record.texts;
        free_call(w);
        for (int i = 0; i < 3; i++)
            uv_run(&w->loop, UV_RUN_NOWAIT);
        assert_int_equal(w->record.ends, ends);
        assert_int_equal(w->record.texts, texts);
    }
}

static void freed_inside_its_own_callbacks_is_quiet(void **state) {
    SCRIPT(script, SEND(CLOSED "data: {\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]}}]}\n\n"
                               TEXT("c") STOP DONE),
           HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->free_in_text = true;
    serve_one(w, scripts);
    while (w->server.gone == 0)
        turn(w);
    assert_int_equal(w->record.texts, 1);
    assert_int_equal(w->record.ends, 0);

    tc_buf_reset(&w->record.lines);
    w->free_in_text = false;
    w->free_in_end = true;
    start(w);
    run_to_end(w);
    assert_null(w->call);
}

static void whole_answers_share_a_connection(void **state) {
    SCRIPT(script, SEND(CHUNKED), CHUNK(TEXT("Hi")), CHUNK(STOP), CHUNK(DONE), WAIT(20), CHUNK(""));
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->free_in_end = true;
    serve(w, scripts, 1);
    for (int i = 0; i < 3; i++) {
        tc_buf_reset(&w->record.lines);
        w->record.ends = 0;
        start(w);
        run_to_end(w);
        run_for(w, 60); /* the last chunk comes after [DONE] was acted on */
    }
    assert_int_equal(w->server.requests, 3);
    assert_int_equal(w->server.connections, 1);
}

static void connection_that_went_stale_is_replaced(void **state) {
    SCRIPT(script, SEND(CHUNKED), CHUNK(TEXT("Hi") STOP DONE), CHUNK(""), WAIT(5), FIN);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    serve(w, scripts, 1);
    for (unsigned i = 1; i <= 3; i++) {
        tc_buf_reset(&w->record.lines);
        w->record.ends = 0;
        start(w);
        run_to_end(w);
        assert_string_equal(w->record.reason, "stop");
        free_call(w);
        run_for(w, 30);
        assert_int_equal(w->server.connections, i);
    }
}

static void three_hundred_calls_at_once_all_end(void **state) {
    SCRIPT(script, SEND(CHUNKED), CHUNK(TEXT("a")), WAIT(20), CHUNK(TEXT("b")), WAIT(20), CHUNK(STOP DONE), CHUNK(""));
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;
    static struct provider_call *calls[300];
    static struct upstream_record records[300];
    json_t *root = json_pack("{s:s}", "prompt", "x");
    unsigned ended = 0;

    serve(w, scripts, 1);
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), 0);
    for (int i = 0; i < 300; i++) {
        upstream_record_init(&records[i]);
        assert_int_equal(provider_call_start(&calls[i], w->provider, root, TC_STR(""), "g", &sink, &records[i]), 0);
    }
    while (ended < 300) {
        turn(w);
        ended = 0;
        for (int i = 0; i < 300; i++)
            ended += records[i].ends;
    }
    for (int i = 0; i < 300; i++) {
        assert_string_equal(records[i].reason, "stop");
        assert_true(tc_str_is(tc_buf_str(&records[i].text), "ab"));
        provider_call_free(calls[i]);
        upstream_record_fini(&records[i]);
    }
    json_decref(root);
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
    static const char *const names[] = {"openai/chat",           "openai/tools",    "vllm/reasoning",
                                        "vllm/error_then_done",  "tgi/chat",        "ollama/tools_without_index",
                                        "llamacpp/crlf_bom",     "llamacpp/pings",  "mistral/parts",
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    signal(SIGPIPE, SIG_IGN); /* as the worker does */
    /* A proxy of the machine's is no part of the tests. */
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    unsetenv("all_proxy");
    const struct CMUnitTest tests[] = {
        TEST(request_carries_body_key_and_route),
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
        TEST(pause_stops_reading_and_time),
        TEST(pause_between_events_holds_the_rest),
        TEST(idle_time_rests_while_paused),
        TEST(paused_from_the_start_tells_nothing),
        TEST(abort_closes_the_connection_at_once),
        TEST(freed_at_any_moment_leaves_nothing_behind),
        TEST(freed_inside_its_own_callbacks_is_quiet),
        TEST(whole_answers_share_a_connection),
        TEST(connection_that_went_stale_is_replaced),
        TEST(three_hundred_calls_at_once_all_end),
        TEST(recorded_streams_come_through_the_wire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
