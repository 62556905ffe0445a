/* What every test of a call through libcurl does in the world of upstream_world.h: serve, start, run, expect. Test
 * helper. */
#ifndef TESTS_SUPPORT_UPSTREAM_PLAY_H
#define TESTS_SUPPORT_UPSTREAM_PLAY_H

#include "upstream_script.h"
#include "upstream_world.h"

static inline void start_request(struct world *w, const char *request) {
    json_t *root = json_loads(request, 0, NULL);
    struct tc_str none = {NULL, 0};

    assert_non_null(root);
    if (!w->provider)
        assert_int_equal(provider_create(&w->provider, &w->loop, &w->opts), 0);
    assert_int_equal(provider_call_start(&w->call, w->provider, root, none, "gen_1", &w->trace, &sink, &w->record), 0);
    assert_int_equal(w->record.lines.len, 0); /* nothing is told from inside start */
    json_decref(root);
}

static inline void start(struct world *w) {
    start_request(w, "{\"prompt\":\"x\"}");
}

static inline void run_to_end(struct world *w) {
    while (w->record.ends == 0)
        turn(w);
}

static inline void serve(struct world *w, const struct upstream_step *const *scripts, size_t n) {
    upstream_server_scripts(&w->server, scripts, n);
}

static inline void serve_one(struct world *w, const struct upstream_step *const *script) {
    serve(w, script, 1);
    start(w);
}

static inline void expect_failure(struct world *w, const char *code, bool recoverable) {
    run_to_end(w);
    assert_string_equal(w->record.reason, "error");
    assert_string_equal(w->record.code, code);
    assert_int_equal(w->record.recoverable, recoverable);
    assert_in_range(strlen(w->record.message), 10, 600);
}

static inline void expect_text(struct world *w, const char *text) {
    run_to_end(w);
    assert_string_equal(w->record.code, "");
    assert_string_equal(w->record.reason, "stop");
    assert_true(tc_str_is(tc_buf_str(&w->record.text), text));
    assert_int_equal(w->record.begins, 1);
}

/* Runs the loop for some time without an end. */
static inline void run_for(struct world *w, unsigned ms) {
    for (unsigned turns = 0; turns < ms; turns++) {
        uv_run(&w->loop, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
}

#endif
