/* What the tests of calls through libcurl stand in: a loop with a scripted server, a provider and a call on it, and a
 * sink that writes down what it is told. All inline, because the tests' library does not know the worker. */
#ifndef TESTS_SUPPORT_UPSTREAM_WORLD_H
#define TESTS_SUPPORT_UPSTREAM_WORLD_H

#include "base/clock.h"
#include "provider/provider.h"
#include "upstream_record.h"
#include "upstream_server.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HANG_MS 60000 /* no test takes nearly as long */

struct world {
    uv_loop_t loop;
    uv_timer_t watchdog;
    uint64_t deadline; /* monotonic microseconds */
    struct upstream_server server;
    struct provider_options opts;
    struct tc_trace trace; /* of every call */
    struct provider *provider;
    struct provider_call *call;
    struct upstream_record record;
    bool provider_closed;
    bool hung;
    bool free_in_end, pause_in_text, free_in_text;
};

/* Ticks, because UV_RUN_ONCE may block behind a timer that already did what the test waits for. */
static inline void on_watchdog(uv_timer_t *timer) {
    struct world *w = timer->data;
    w->hung = tc_mono_us() > w->deadline;
}

static inline void on_end(void *arg, const struct provider_end *e) {
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

static inline void free_call(struct world *w) {
    if (w->call)
        provider_call_free(w->call);
    w->call = NULL;
}

/* At the end of each call to the sink. */
static inline void on_told(void *arg) {
    struct world *w = arg;

    if (w->call && w->pause_in_text && w->record.texts > 0)
        provider_call_pause(w->call);
    if ((w->free_in_text && w->record.texts > 0) || (w->free_in_end && w->record.ends > 0))
        free_call(w);
}

static inline int set_up(void **state) {
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

static inline void turn(struct world *w) {
    uv_run(&w->loop, UV_RUN_ONCE);
    if (w->hung)
        fail_msg("hangs; told so far:\n%.*s", (int)w->record.lines.len,
                 w->record.lines.data ? w->record.lines.data : "");
}

static inline void on_provider_closed(void *arg) {
    struct world *w = arg;
    w->provider_closed = true;
}

static inline int tear_down(void **state) {
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* First in main(): what the worker does too, and no proxy of the machine's. */
static inline void quiet_environment(void) {
    signal(SIGPIPE, SIG_IGN);
    unsetenv("http_proxy");
    unsetenv("ALL_PROXY");
    unsetenv("all_proxy");
}

#endif
