/* tokencast-worker: takes generations from the queue, asks a model server, writes the logs. */
#include "base/log.h"
#include "ops/notify.h"
#include "ops/probe.h"
#include "run/worker.h"
#include "wire/json.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

struct program {
    uv_loop_t loop;
    uv_signal_t term, interrupt;
    struct worker_options opts;
    struct worker worker;
    struct tc_notify notify;
    bool told_supervisor; /* READY=1 was said */
};

#define STOP_SPARE_MS 10000 /* beyond the grace time, before a supervisor kills us: handing back, closing Redis */

static const char summary[] =
    "Takes generations from the queue in Redis, asks a model server, and writes what it says into their logs.";

static enum tc_log_level level_of(const char *name) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum tc_log_level)i;
    return TC_LOG_INFO;
}

/* 0: go on and run; otherwise the program ends with *status. */
static int read_options(struct program *p, int argc, char **argv, int *status) {
    enum tc_option_action action = TC_OPTION_RUN;
    struct tc_buf err;
    tc_buf_init(&err, 4096);
    int rc = tc_options_parse(worker_option_table, &p->opts, argc, argv, environ, &action, &err);
    if (rc == 0 && (action == TC_OPTION_RUN || action == TC_OPTION_CHECK))
        rc = worker_options_check(&p->opts, &err);
    *status = rc < 0 ? 2 : 0;
    if (rc < 0)
        fprintf(stderr, "tokencast-worker: %.*s\n", (int)err.len, err.len ? err.data : "");
    else if (action == TC_OPTION_HELP)
        tc_options_help(worker_option_table, "tokencast-worker", summary, stdout);
    else if (action == TC_OPTION_VERSION)
        puts("tokencast-worker " TC_VERSION);
    else if (action == TC_OPTION_CHECK)
        puts("configuration is valid");
    else if (action == TC_OPTION_PROBE)
        *status = tc_ops_probe(p->opts.ops_listen, stdout) < 0;
    tc_buf_fini(&err);
    return rc < 0 || action != TC_OPTION_RUN;
}

static void tell_status(struct program *p) {
    struct tc_buf why = {0};
    worker_is_ready(&p->worker, &why);
    tc_buf_putc(&why, '\0');
    if (tc_buf_ok(&why))
        tc_notify_status(&p->notify, why.data);
    tc_buf_fini(&why);
}

/* Ready for a supervisor is a worker whose loop turns, with Redis or without: it waits for Redis by itself, and started
 * again it would not find it sooner. */
static void on_tick(void *arg) {
    struct program *p = arg;
    tell_status(p);
    if (!p->told_supervisor)
        tc_notify_ready(&p->notify);
    p->told_supervisor = true;
    tc_notify_alive(&p->notify);
}

static void on_signal(uv_signal_t *handle, int signum) {
    struct program *p = handle->data;
    tc_log(TC_LOG_INFO, "stopping", TC_LI("signal", signum));
    tc_notify_stopping(&p->notify, (uint64_t)p->opts.grace + STOP_SPARE_MS);
    worker_stop(&p->worker);
    tell_status(p);
}

static void on_stopped(void *arg) {
    struct program *p = arg;
    uv_close((uv_handle_t *)&p->term, NULL);
    uv_close((uv_handle_t *)&p->interrupt, NULL);
    tc_notify_close(&p->notify);
}

static void watch_signal(struct program *p, uv_signal_t *handle, int signum) {
    handle->data = p;
    if (uv_signal_init(&p->loop, handle) < 0 || uv_signal_start(handle, on_signal, signum) < 0)
        abort(); /* at startup there is nothing to save */
}

static int run(struct program *p) {
    if (uv_loop_init(&p->loop) < 0)
        abort();
    int rc = worker_start(&p->worker, &p->loop, &p->opts, on_stopped, p);
    if (rc == 0) {
        watch_signal(p, &p->term, SIGTERM);
        watch_signal(p, &p->interrupt, SIGINT);
        tc_notify_start(&p->notify, &p->loop, on_tick, p);
    }
    uv_run(&p->loop, UV_RUN_DEFAULT);
    int busy = uv_loop_close(&p->loop);
    assert(busy == 0);
    (void)busy;
    if (rc == 0)
        tc_log0(TC_LOG_INFO, "stopped");
    return rc < 0 ? 1 : 0;
}

int main(int argc, char **argv) {
    static struct program program;
    int status;
    if (read_options(&program, argc, argv, &status))
        return status;
    tc_log_setup("worker", level_of(program.opts.log_level), strcmp(program.opts.log_format, "json") == 0);
    signal(SIGPIPE, SIG_IGN);
    tc_json_count_failures();
    return run(&program);
}
