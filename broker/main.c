/* tokencast-broker: follows generations in Redis and relays them to any number of clients. The main thread runs the
 * first loop, the operations port and the signals; each further loop has a thread of its own. */
#include "base/log.h"
#include "ops/broker.h"
#include "ops/probe.h"
#include "options.h"
#include "wire/json.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

extern char **environ;

static const char summary[] =
    "Follows generations in Redis and relays them to any number of clients as Server-Sent Events.";

static enum tc_log_level level_of(const char *name) {
    static const char *const names[] = {"debug", "info", "warn", "error"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0)
            return (enum tc_log_level)i;
    return TC_LOG_INFO;
}

/* 0: go on and run; otherwise the program ends with *status. */
static int read_options(struct broker_options *o, int argc, char **argv, int *status) {
    enum tc_option_action action = TC_OPTION_RUN;
    struct tc_buf err;
    tc_buf_init(&err, 4096);
    int rc = tc_options_parse(broker_option_table, o, argc, argv, environ, &action, &err);
    if (rc == 0 && (action == TC_OPTION_RUN || action == TC_OPTION_CHECK))
        rc = broker_options_check(o, &err);
    *status = rc < 0 ? 2 : 0;
    if (rc < 0)
        fprintf(stderr, "tokencast-broker: %.*s\n", (int)err.len, err.len ? err.data : "");
    else if (action == TC_OPTION_HELP)
        tc_options_help(broker_option_table, "tokencast-broker", summary, stdout);
    else if (action == TC_OPTION_VERSION)
        puts("tokencast-broker " TC_VERSION);
    else if (action == TC_OPTION_CHECK)
        puts("configuration is valid");
    else if (action == TC_OPTION_PROBE)
        *status = tc_ops_probe(o->ops_listen, stdout) < 0;
    tc_buf_fini(&err);
    return rc < 0 || action != TC_OPTION_RUN;
}

/* A connection is a descriptor: as many as the system lets us have. */
static void raise_descriptors(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    static struct broker_options opts;
    int status;
    if (read_options(&opts, argc, argv, &status))
        return status;
    tc_log_setup("broker", level_of(opts.log_level), strcmp(opts.log_format, "json") == 0);
    signal(SIGPIPE, SIG_IGN);
    tc_json_count_failures();
    raise_descriptors();
    if (opts.loops == 0)
        opts.loops = (int64_t)uv_available_parallelism();
    return broker_run(&opts) == 0 ? 0 : 1;
}
