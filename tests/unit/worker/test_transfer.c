/* Holding, aborting and reusing connections, by way of whole calls to a scripted server. */
#include "upstream_play.h"

/* ---- holding, aborting, reusing ---- */

static void pause_stops_reading(void **state) {
    struct world *w = *state;
    struct tc_buf flood;

    tc_buf_init(&flood, 0);
    for (int i = 0; i < 1000; i++)
        tc_buf_puts(&flood, TEXT("0123456789abcdef0123456789abcdef0123456789abcdef"));
    char *many = tc_buf_take_cstr(&flood);
    const struct upstream_step script[] = {SEND(CLOSED), {UPSTREAM_FLOOD, many, 0}};
    const struct upstream_step *const scripts[] = {script};

    w->pause_in_text = true;
    serve_one(w, scripts);
    while (w->record.texts == 0)
        turn(w);
    /* The kernel's buffers fill up, then the server cannot send any more. */
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
    while (w->server.flooded < before + 100000 && w->record.ends == 0)
        turn(w);
    assert_string_equal(w->record.code, "");
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
    SCRIPT(script, SEND(CLOSED TEXT("a")), WAIT(1200), SEND(TEXT("b") STOP DONE), HANG);
    static const struct upstream_step *const scripts[] = {script};
    struct world *w = *state;

    w->opts.idle_timeout_ms = 1000;
    serve_one(w, scripts);
    while (w->record.texts == 0)
        turn(w);
    provider_call_pause(w->call);
    run_for(w, 1500);
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
    unsigned turns = 0; /* one at least every 5 ms, by the watchdog; the next time-out is seconds away */
    for (; w->server.gone == 0; turns++)
        turn(w);
    assert_in_range(turns, 0, 20);
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
    SCRIPT(script,
           SEND(CLOSED "data: {\"choices\":[{\"delta\":{\"content\":[{\"text\":\"a\"},{\"text\":\"b\"}]}}]}\n\n" TEXT(
               "c") STOP DONE),
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
        assert_int_equal(
            provider_call_start(&calls[i], w->provider, root, TC_STR(""), "g", &w->trace, &sink, &records[i]), 0);
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

int main(void) {
    quiet_environment();
    const struct CMUnitTest tests[] = {
        TEST(pause_stops_reading),
        TEST(pause_between_events_holds_the_rest),
        TEST(idle_time_rests_while_paused),
        TEST(paused_from_the_start_tells_nothing),
        TEST(abort_closes_the_connection_at_once),
        TEST(freed_at_any_moment_leaves_nothing_behind),
        TEST(freed_inside_its_own_callbacks_is_quiet),
        TEST(whole_answers_share_a_connection),
        TEST(connection_that_went_stale_is_replaced),
        TEST(three_hundred_calls_at_once_all_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
