/* Tokens that come faster than Redis takes them: what waits in a worker stays within its bound, from every provider. */
#include "provider/provider.h"
#include "publish/writer.h"
#include "run/job_run.h"
#include "upstream_server.h"
#include "worker_fixture.h"

#include "base/log.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PIECES   900
#define PIECE    1000
#define BUFFER   16384
#define END      160 /* bytes of `done`, with its usage */
#define HEAD     "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define CHOICE   "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"}}]}\n\n"
#define FINISHED "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
#define BLOCK                                                                                                          \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{"                      \
    "\"type\":\"text_delta\",\"text\":\"%s\"}}\n\n"
#define STOPPED                                                                                                        \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"            \
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

/* What waits, looked at in every turn of the loop, before and after its sockets. */
static struct {
    uv_prepare_t before;
    uv_check_t after;
    size_t most;
    unsigned turns; /* in which something waited */
} watch;

static void look(void) {
    if (tc_list_empty(&worker.runs))
        return;
    const struct job_run *run = TC_CONTAINER_OF(worker.runs.next, struct job_run, node);
    size_t waits = run->writer ? run->writer->outbox.bytes : 0;
    watch.turns += waits > 0;
    if (waits > watch.most)
        watch.most = waits;
}

static void on_prepare(uv_prepare_t *handle) {
    (void)handle;
    look();
}

static void on_check(uv_check_t *handle) {
    (void)handle;
    look();
}

static void watch_start(void) {
    memset(&watch, 0, sizeof(watch));
    uv_prepare_init(&rig.loop, &watch.before);
    uv_check_init(&rig.loop, &watch.after);
    uv_prepare_start(&watch.before, on_prepare);
    uv_check_start(&watch.after, on_check);
}

static void watch_stop(void) {
    uv_close((uv_handle_t *)&watch.before, NULL);
    uv_close((uv_handle_t *)&watch.after, NULL);
}

static bool has_begun(void *arg) {
    (void)arg;
    if (tc_list_empty(&worker.runs))
        return false;
    return TC_CONTAINER_OF(worker.runs.next, struct job_run, node)->call != NULL;
}

static bool is_full(void *arg) {
    (void)arg;
    return watch.most > BUFFER;
}

static bool is_done(void *arg) {
    (void)arg;
    return strcmp(publish_rig_str(&rig, "HGET tc:{gen_a}:meta state"), "done") == 0;
}

/* A whole answer of pieces that differ, and with it what the log must say. */
static char *answer(const char *format, const char *end, char **text) {
    struct tc_buf out, all;
    char piece[PIECE + 1];

    tc_buf_init(&out, 0);
    tc_buf_init(&all, 0);
    tc_buf_puts(&out, HEAD);
    memset(piece, 'x', PIECE);
    piece[PIECE] = 0;
    for (int i = 0; i < PIECES; i++) {
        piece[0] = (char)('a' + i % 26);
        char *event = strstr(format, "%s");
        tc_buf_append(&out, format, (size_t)(event - format));
        tc_buf_puts(&out, piece);
        tc_buf_puts(&out, event + 2);
        tc_buf_puts(&all, piece);
    }
    tc_buf_puts(&out, end);
    *text = tc_buf_take_cstr(&all);
    return tc_buf_take_cstr(&out);
}

/* Redis hangs until the worker is full, and goes on: never does more wait than the bound and the piece that passed it,
 * and the end, which is taken in any case and may come while the last of the text waits. */
static void play(const char *request, size_t piece, const char *text) {
    opts.buffer_bytes = BUFFER;
    start();
    post("gen_a", request, NULL);
    watch_start();
    publish_rig_until_true(&rig, has_begun, NULL);
    kill(rig.pid, SIGSTOP);
    publish_rig_until_true(&rig, is_full, NULL);
    publish_rig_run(&rig, 100);
    kill(rig.pid, SIGCONT);
    publish_rig_until_true(&rig, is_done, NULL);
    assert_in_range(watch.most, BUFFER + 1, BUFFER + piece + END);
    assert_in_range(watch.turns, 4, UINT32_MAX); /* others had their turns */
    assert_string_equal(publish_rig_text(&rig, "gen_a"), text);
    watch_stop();
    stop();
}

static void play_upstream(const char *kind, const char *format, const char *end) {
    struct upstream_server server = {0};
    char *text, *bytes = answer(format, end, &text);
    const struct upstream_step script[] = {{UPSTREAM_SEND, bytes, 0}, {UPSTREAM_FIN, NULL, 0}};
    const struct upstream_step *const scripts[] = {script};

    upstream_server_start(&server, &rig.loop);
    upstream_server_scripts(&server, scripts, 1);
    opts.provider = kind;
    opts.upstream = server.url;
    opts.model = "m";
    play("{\"prompt\":\"x\"}", PIECE, text);
    upstream_server_stop(&server);
    publish_rig_run(&rig, 5);
    upstream_server_fini(&server);
    free(bytes);
    free(text);
}

static void pressure_openai_stays_within_the_bound(void **state) {
    (void)state;
    play_upstream("openai", CHOICE, FINISHED);
}

static void pressure_anthropic_stays_within_the_bound(void **state) {
    (void)state;
    play_upstream("anthropic", BLOCK, STOPPED);
}

static void pressure_replay_stays_within_the_bound(void **state) {
    struct tc_buf text, request;
    (void)state;
    tc_buf_init(&text, 0);
    for (int i = 0; text.len < 400000; i++)
        tc_buf_printf(&text, "%d ", i);
    tc_buf_putc(&text, 0);
    tc_buf_init(&request, 0);
    tc_buf_printf(&request, REQUEST("%s", "1000000"), text.data);
    tc_buf_putc(&request, 0);
    play(request.data, 48, text.data);
    tc_buf_fini(&text);
    tc_buf_fini(&request);
}

#define T(name) cmocka_unit_test_setup_teardown(name, worker_setup, worker_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(pressure_openai_stays_within_the_bound),
        T(pressure_anthropic_stays_within_the_bound),
        T(pressure_replay_stays_within_the_bound),
    };
    signal(SIGPIPE, SIG_IGN);
    unsetenv("http_proxy");
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
