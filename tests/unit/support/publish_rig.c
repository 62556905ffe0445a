/* See publish_rig.h. The server is this process's child and is ended by its pid. */
#include "publish_rig.h"

#include "base/buf.h"
#include "base/clock.h"
#include "tokencast/event.h"
#include "tokencast/position.h"

#include "redis/reply.h"
#include "wire/fold.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LIMIT_US (20 * 1000000ULL)

void publish_rig_server_start(struct publish_rig *r) {
    r->pid = fork();
    assert_true(r->pid >= 0);
    if (r->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also when a test crashes */
        execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", r->socket, "--save", "", "--appendonly",
               "no", "--dir", r->dir, "--logfile", "redis.log", "--daemonize", "no", (char *)NULL);
        _exit(127);
    }
    uint64_t end = tc_mono_us() + LIMIT_US;
    do {
        assert_true(tc_mono_us() < end);
        uv_sleep(2);
        if (r->peek)
            redisFree(r->peek);
        r->peek = redisConnectUnix(r->socket);
    } while (!r->peek || r->peek->err);
}

void publish_rig_server_kill(struct publish_rig *r) {
    int status;
    redisFree(r->peek);
    r->peek = NULL;
    kill(r->pid, SIGCONT);
    kill(r->pid, SIGKILL);
    waitpid(r->pid, &status, 0);
    unlink(r->socket);
}

static bool is_up(void *arg) {
    return tc_redis_is_up(arg);
}

void publish_rig_init(struct publish_rig *r) {
    signal(SIGPIPE, SIG_IGN); /* as the programs do */
    memset(r, 0, sizeof(*r));
    snprintf(r->dir, sizeof(r->dir), "/tmp/tc-publish-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    snprintf(r->socket, sizeof(r->socket), "%s/s", r->dir);
    snprintf(r->url, sizeof(r->url), "unix://%s", r->socket);
    publish_rig_server_start(r);
    assert_int_equal(uv_loop_init(&r->loop), 0);
    const struct tc_redis_options opts = {
        .url = r->url, .pubsub = true, .command_timeout_ms = 500, .backoff_min_ms = 10, .backoff_max_ms = 50};
    assert_int_equal(tc_redis_create(&r->redis, &r->loop, &opts), 0);
    publish_rig_until_true(r, is_up, r->redis);
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

void publish_rig_fini(struct publish_rig *r) {
    char path[128];
    bool closed = false;
    tc_redis_close(r->redis, on_closed, &closed);
    publish_rig_until(r, &closed);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    publish_rig_server_kill(r);
    snprintf(path, sizeof(path), "%s/redis.log", r->dir);
    unlink(path);
    rmdir(r->dir);
}

static void on_tick(uv_timer_t *timer) {
    (void)timer;
}

static void on_tick_closed(uv_handle_t *handle) {
    *(bool *)handle->data = true;
}

void publish_rig_until_true(struct publish_rig *r, bool (*condition)(void *arg), void *arg) {
    uv_timer_t tick;
    bool gone = false;
    uint64_t end = tc_mono_us() + LIMIT_US;
    uv_timer_init(&r->loop, &tick);
    tick.data = &gone;
    uv_timer_start(&tick, on_tick, 5, 5); /* an empty loop would return at once, a stuck one never */
    while (!condition(arg) && tc_mono_us() < end)
        uv_run(&r->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, on_tick_closed);
    while (!gone)
        uv_run(&r->loop, UV_RUN_NOWAIT);
    assert_true(condition(arg));
}

static bool is_set(void *arg) {
    return *(const bool *)arg;
}

void publish_rig_until(struct publish_rig *r, const bool *flag) {
    union {
        const bool *in;
        void *out;
    } u = {.in = flag};
    publish_rig_until_true(r, is_set, u.out);
}

static bool is_past(void *arg) {
    return tc_mono_us() >= *(uint64_t *)arg;
}

void publish_rig_run(struct publish_rig *r, unsigned ms) {
    uint64_t end = tc_mono_us() + ms * 1000ULL;
    publish_rig_until_true(r, is_past, &end);
}

static redisReply *command(struct publish_rig *r, const char *format, va_list args) {
    redisReply *reply = redisvCommand(r->peek, format, args);
    if (!reply)
        fail_msg("no reply: %s", r->peek->errstr);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", format, reply->str);
    return reply;
}

redisReply *publish_rig_command(struct publish_rig *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *reply = command(r, format, args);
    va_end(args);
    return reply;
}

void publish_rig_do(struct publish_rig *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    freeReplyObject(command(r, format, args));
    va_end(args);
}

long long publish_rig_int(struct publish_rig *r, const char *format, ...) {
    va_list args;
    va_start(args, format);
    redisReply *reply = command(r, format, args);
    va_end(args);
    assert_int_equal(reply->type, REDIS_REPLY_INTEGER);
    long long v = reply->integer;
    freeReplyObject(reply);
    return v;
}

const char *publish_rig_str(struct publish_rig *r, const char *format, ...) {
    static char text[4096];
    va_list args;
    va_start(args, format);
    redisReply *reply = command(r, format, args);
    va_end(args);
    struct tc_str s = tc_reply_str(reply);
    snprintf(text, sizeof(text), "%.*s", (int)s.n, s.n ? s.p : "");
    freeReplyObject(reply);
    return text;
}

void publish_rig_create(struct publish_rig *r, const char *gen, long long created_ago_ms) {
    struct tc_buf e;
    struct tc_event ev = {.type = TC_EV_CREATED, .at = tc_now_us() - created_ago_ms * 1000, .model = TC_STR("m")};
    tc_buf_init(&e, 0);
    tc_event_encode(&e, &ev);
    publish_rig_do(r, "XADD tc:{%s}:log 0-1 e %b", gen, e.data, e.len);
    publish_rig_do(r, "HSET tc:{%s}:meta state queued model m", gen);
    tc_buf_fini(&e);
}

void publish_rig_fence(struct publish_rig *r, const char *gen, unsigned long long attempt) {
    struct tc_buf e;
    struct tc_event ev = {.type = TC_EV_FENCE, .writer = TC_STR("another")};
    tc_buf_init(&e, 0);
    tc_event_encode(&e, &ev);
    publish_rig_do(r, "XADD tc:{%s}:log %llu-0 e %b", gen, attempt, e.data, e.len);
    tc_buf_fini(&e);
}

static void print_event(struct tc_buf *out, const struct tc_event *ev) {
    tc_buf_puts(out, tc_event_type_name(ev->type));
    if (ev->type == TC_EV_DELTA)
        tc_buf_printf(out, " %llu ", (unsigned long long)ev->offset);
    else if (ev->type == TC_EV_TOOL_CALL)
        tc_buf_printf(out, " %llu%s%s ", (unsigned long long)ev->offset, ev->done ? " done" : "",
                      ev->invalid ? " invalid" : "");
    else
        tc_buf_putc(out, ' ');
    tc_buf_put_str(out, ev->text);
    tc_buf_put_str(out, ev->arguments);
    tc_buf_put_str(out, ev->reason);
    tc_buf_put_str(out, ev->code);
}

static void decode(const redisReply *range, size_t i, struct tc_reply_entry *entry, struct tc_event *ev) {
    assert_int_equal(tc_reply_entry(range, i, entry), 0);
    assert_true(entry->has_e);
    assert_int_equal(tc_event_decode(entry->e.p, entry->e.n, ev), 0);
}

const char *publish_rig_log(struct publish_rig *r, const char *gen) {
    static char text[65536];
    struct tc_reply_entry entry;
    struct tc_event ev;
    struct tc_buf out;
    tc_buf_init(&out, 0);
    redisReply *range = publish_rig_command(r, "XRANGE tc:{%s}:log - +", gen);
    for (size_t i = 0; i < range->elements; i++) {
        decode(range, i, &entry, &ev);
        if (ev.type == TC_EV_FENCE) {
            tc_buf_puts(&out, "- fence\n");
            continue;
        }
        tc_buf_printf(&out, "%llu ", (unsigned long long)entry.position.seq);
        print_event(&out, &ev);
        tc_buf_putc(&out, '\n');
    }
    snprintf(text, sizeof(text), "%.*s", (int)out.len, out.len ? out.data : "");
    tc_buf_fini(&out);
    freeReplyObject(range);
    return text;
}

const char *publish_rig_text(struct publish_rig *r, const char *gen) {
    static char text[1024 * 1024];
    struct tc_reply_entry entry;
    struct tc_event ev;
    struct tc_fold fold;
    uint64_t seq = 0;
    tc_fold_init(&fold, 16 * 1024 * 1024);
    redisReply *range = publish_rig_command(r, "XRANGE tc:{%s}:log - +", gen);
    for (size_t i = 0; i < range->elements; i++) {
        decode(range, i, &entry, &ev);
        if (ev.type != TC_EV_FENCE)
            assert_int_equal(entry.position.seq, ++seq);
        if (ev.type == TC_EV_DELTA)
            assert_int_equal(ev.offset, fold.piece_count ? fold.pieces[0].units : 0);
        assert_int_equal(tc_fold_apply(&fold, entry.position, &ev), 0);
    }
    struct tc_str s = tc_fold_text(&fold, TC_KIND_TEXT, 0);
    snprintf(text, sizeof(text), "%.*s", (int)s.n, s.n ? s.p : "");
    tc_fold_fini(&fold);
    freeReplyObject(range);
    return text;
}
