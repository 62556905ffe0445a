/* The built-in provider: pieces, pace, pause, prefix, and what a request may ask of it. */
#include "base/clock.h"
#include "base/utf8.h"
#include "provider/pieces.h"
#include "provider/provider.h"
#include "provider/replay_text.h"
#include "tokencast/error.h"
#include "upstream_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HANG_MS 60000

struct world {
    uv_loop_t loop;
    uv_timer_t watchdog;
    uint64_t deadline; /* monotonic microseconds */
    struct provider_options opts;
    struct provider *provider;
    struct provider_call *call;
    struct upstream_record record;
    unsigned pause_at, free_at; /* text number; 0 = never */
    bool closed, hung;
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

static const struct tc_trace untraced;

static void free_call(struct world *w) {
    if (w->call)
        provider_call_free(w->call);
    w->call = NULL;
}

static void on_told(void *arg) {
    struct world *w = arg;

    if (w->pause_at > 0 && w->record.texts == w->pause_at && w->call)
        provider_call_pause(w->call);
    if (w->free_at > 0 && w->record.texts == w->free_at)
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
    upstream_record_init(&w->record);
    w->record.hook = on_told;
    w->record.hook_arg = w;
    w->opts = (struct provider_options){.kind = "replay", .model = "tape", .replay_rate = 1e6};
    *state = w;
    return 0;
}

static void turn(struct world *w) {
    uv_run(&w->loop, UV_RUN_ONCE);
    assert_false(w->hung);
}

static void on_closed(void *arg) {
    struct world *w = arg;
    w->closed = true;
}

static int tear_down(void **state) {
    struct world *w = *state;

    free_call(w);
    if (w->provider) {
        provider_close(w->provider, on_closed, w);
        assert_false(w->closed);
        while (!w->closed)
            turn(w);
    }
    uv_close((uv_handle_t *)&w->watchdog, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    upstream_record_fini(&w->record);
    free(w);
    return 0;
}

static int try_start(struct world *w, const char *request, struct tc_str prefix) {
    json_t *root = json_loads(request, 0, NULL);

    assert_non_null(root);
    if (!w->provider)
        assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), 0);
    int rc = provider_call_start(&w->call, w->provider, root, prefix, "gen_1", &untraced, &sink, &w->record);
    json_decref(root);
    return rc;
}

static void play(struct world *w, const char *request, struct tc_str prefix) {
    assert_int_equal(try_start(w, request, prefix), 0);
    assert_int_equal(w->record.lines.len, 0);
    while (w->record.ends == 0)
        turn(w);
}

static json_int_t usage(struct world *w, const char *name) {
    return json_integer_value(json_object_get(w->record.usage, name));
}

static void pieces_are_words_and_join_to_the_text(void **state) {
    static const char *const want[] = {"One", " two", "\n\n-", " \xc3\xbc", "!"};
    struct tc_str text = TC_STR("One two\n\n- \xc3\xbc");

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        size_t n = piece_len(text);
        assert_true(tc_str_is((struct tc_str){text.p, n}, want[i]));
        text = (struct tc_str){text.p + n, text.n - n};
    }
    assert_int_equal(text.n, 0);
}

static void pieces_of_any_text_are_whole_and_bounded(void **state) {
    static const char *const texts[] = {
        replay_text,
        "\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"
        "\xe6"
        "\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "                                                                            x",
        "   ",
    };

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct tc_str text = tc_str_from(texts[i]);
        if (i == 1)
            assert_int_equal(piece_len(text), 36); /* twelve characters without a space */
        while (text.n > 0) {
            size_t n = piece_len(text);
            assert_in_range(n, 1, PIECE_MAX);
            assert_true(tc_utf8_valid((struct tc_str){text.p, n}));
            text = (struct tc_str){text.p + n, text.n - n};
        }
    }
}

static void built_in_text_is_played_to_its_end(void **state) {
    struct world *w = *state;

    play(w, "{\"prompt\":\"a b c\"}", TC_STR(""));
    assert_true(tc_str_is(tc_buf_str(&w->record.text), replay_text));
    assert_string_equal(w->record.reason, "stop");
    assert_int_equal(w->record.begins, 1);
    assert_int_equal(usage(w, "input_tokens"), 3);
    assert_int_equal(usage(w, "output_tokens"), w->record.texts);
    assert_int_equal(usage(w, "total_tokens"), w->record.texts + 3);
    assert_in_range(w->record.texts, 200, 300);
}

static void request_brings_text_reasoning_and_tool_call(void **state) {
    struct world *w = *state;

    play(w,
         "{\"model\":\"own\",\"messages\":[{\"role\":\"user\",\"content\":\"a b\"}],\"options\":{\"text\":\"x y\","
         "\"reasoning\":\"hm\",\"rate\":1000,\"tool_call\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}}",
         TC_STR(""));
    assert_true(
        tc_str_is(tc_buf_str(&w->record.lines),
                  "{\"call\":\"begin\",\"model\":\"own\"}\n"
                  "{\"call\":\"text\",\"index\":0,\"kind\":\"reasoning\",\"text\":\"hm\"}\n"
                  "{\"call\":\"text\",\"index\":0,\"kind\":\"text\",\"text\":\"x\"}\n"
                  "{\"call\":\"text\",\"index\":0,\"kind\":\"text\",\"text\":\" y\"}\n"
                  "{\"arguments\":\"{\\\"a\\\":1}\",\"call\":\"tool\",\"done\":false,\"id\":\"call_gen_1_0\","
                  "\"index\":0,\"name\":\"f\"}\n"
                  "{\"arguments\":\"\",\"call\":\"tool\",\"done\":true,\"id\":\"\",\"index\":0,\"name\":\"\"}\n"
                  "{\"call\":\"end\",\"reason\":\"tool_calls\",\"usage\":{\"input_tokens\":2,\"output_tokens\":4,"
                  "\"total_tokens\":6}}\n"));
}

static void token_limit_cuts_the_answer(void **state) {
    struct world *w = *state;

    play(w, "{\"prompt\":\"x\",\"options\":{\"text\":\"one two three\",\"max_tokens\":2}}", TC_STR(""));
    assert_true(tc_str_is(tc_buf_str(&w->record.text), "one two"));
    assert_string_equal(w->record.reason, "length");
}

static void prefix_is_gone_on_from_anywhere(void **state) {
    struct world *w = *state;
    struct tc_str text = tc_str_from(replay_text);

    for (size_t n = 1; n <= text.n; n += n < 40 ? 1 : 97) {
        tc_buf_reset(&w->record.lines);
        tc_buf_reset(&w->record.text);
        w->record.ends = 0;
        json_decref(w->record.usage);
        w->record.usage = NULL;
        play(w, "{\"prompt\":\"x\",\"options\":{\"reasoning\":\"not again\"}}", (struct tc_str){text.p, n});
        assert_true(tc_str_eq(tc_buf_str(&w->record.text), (struct tc_str){text.p + n, text.n - n}));
        free_call(w);
    }
    assert_int_equal(w->record.reasoning.len, 0);
}

static void prefix_of_another_text_is_refused(void **state) {
    struct world *w = *state;

    assert_int_equal(try_start(w, "{\"prompt\":\"x\",\"options\":{\"text\":\"abc\"}}", TC_STR("abd")), TC_EINVAL);
    assert_int_equal(try_start(w, "{\"prompt\":\"x\",\"options\":{\"text\":\"abc\"}}", TC_STR("abcd")), TC_EINVAL);
    w->call = NULL;
}

static void pace_is_kept_on_average(void **state) {
    struct world *w = *state;
    uint64_t from = tc_mono_us();

    w->opts.replay_rate = 500;
    play(w,
         "{\"prompt\":\"x\",\"options\":{\"text\":\""
         "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a "
         "a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a a\"}}",
         TC_STR(""));
    uint64_t took = tc_mono_us() - from;
    assert_int_equal(w->record.texts, 100);
    assert_in_range(took, 190 * 1000, HANG_MS * 1000); /* 99 gaps of 2 ms, less a millisecond of the timer's */
}

static void highest_rate_plays_a_long_text_soon(void **state) {
    struct world *w = *state;
    json_t *request = json_pack("{s:s, s:{}}", "prompt", "x", "options");
    size_t n = 400000;
    char *text = malloc(n + 1);

    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = i % 2 ? 'a' : ' ';
    text[n] = 0;
    json_object_set_new(json_object_get(request, "options"), "text", json_string(text));
    char *dumped = json_dumps(request, 0);
    play(w, dumped, TC_STR(""));
    assert_int_equal(w->record.texts, n / 2);
    free(dumped);
    free(text);
    json_decref(request);
}

static void pause_holds_and_resume_goes_on(void **state) {
    struct world *w = *state;

    w->pause_at = 3;
    assert_int_equal(try_start(w, "{\"prompt\":\"x\",\"options\":{\"text\":\"a b c d e\"}}", TC_STR("")), 0);
    while (w->record.texts < 3)
        turn(w);
    for (int i = 0; i < 20; i++) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
    assert_int_equal(w->record.texts, 3);
    provider_call_pause(w->call);
    provider_call_resume(w->call);
    provider_call_resume(w->call);
    assert_int_equal(w->record.texts, 3);
    while (w->record.ends == 0)
        turn(w);
    assert_true(tc_str_is(tc_buf_str(&w->record.text), "a b c d e"));
}

static void pause_is_not_made_up_for(void **state) {
    struct world *w = *state;

    w->pause_at = 5;
    w->opts.replay_rate = 50;
    assert_int_equal(try_start(w, "{\"prompt\":\"x\",\"options\":{\"text\":\"a b c d e f g h\"}}", TC_STR("")), 0);
    while (w->record.texts < 5)
        turn(w);
    uv_sleep(100);
    provider_call_resume(w->call);
    uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_in_range(w->record.texts, 6, 7); /* the next piece at once, but not the five that the pause held up */
}

static void freed_in_a_callback_is_quiet(void **state) {
    struct world *w = *state;

    w->free_at = 2;
    assert_int_equal(try_start(w, "{\"prompt\":\"x\",\"options\":{\"text\":\"a b c\"}}", TC_STR("")), 0);
    while (w->call)
        turn(w);
    for (int i = 0; i < 5; i++)
        uv_run(&w->loop, UV_RUN_NOWAIT);
    assert_int_equal(w->record.texts, 2);
    assert_int_equal(w->record.ends, 0);
}

static void replay_file_is_played(void **state) {
    struct world *w = *state;
    char path[] = "/tmp/tc-replay-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "from a file", 11), 11);
    close(fd);
    w->opts.replay_file = path;
    play(w, "{\"prompt\":\"x\"}", TC_STR(""));
    assert_true(tc_str_is(tc_buf_str(&w->record.text), "from a file"));
    unlink(path);
}

static void unusable_replay_file_is_refused(void **state) {
    struct world *w = *state;
    char path[] = "/tmp/tc-replay-XXXXXX";
    int fd = mkstemp(path);

    assert_true(fd >= 0);
    w->opts.replay_file = path;
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), TC_ESYNTAX); /* empty */
    assert_int_equal(write(fd, "a\xff", 2), 2);
    close(fd);
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), TC_ESYNTAX);
    unlink(path);
    assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), TC_EIO);
    w->provider = NULL;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_are_words_and_join_to_the_text),
        cmocka_unit_test(pieces_of_any_text_are_whole_and_bounded),
        TEST(built_in_text_is_played_to_its_end),
        TEST(request_brings_text_reasoning_and_tool_call),
        TEST(token_limit_cuts_the_answer),
        TEST(prefix_is_gone_on_from_anywhere),
        TEST(prefix_of_another_text_is_refused),
        TEST(pace_is_kept_on_average),
        TEST(highest_rate_plays_a_long_text_soon),
        TEST(pause_holds_and_resume_goes_on),
        TEST(pause_is_not_made_up_for),
        TEST(freed_in_a_callback_is_quiet),
        TEST(replay_file_is_played),
        TEST(unusable_replay_file_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
