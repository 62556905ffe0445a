#include "worker_fixture.h"

#include <stdio.h>
#include <string.h>

struct publish_rig rig;
struct worker worker;
struct worker_options opts;
bool stopped;

static void on_stopped(void *arg) {
    (void)arg;
    stopped = true;
}

static void options_for_test(void) {
    static char *none[] = {NULL};
    char *argv[] = {(char[]){"worker"},         (char[]){"--provider=replay"}, (char[]){"--ops-listen=127.0.0.1:0"},
                    (char[]){"--lease-ms=600"}, (char[]){"--settle=100"},      (char[]){"--grace=10s"},
                    (char[]){"--slots=4"},      (char[]){"--max-attempts=2"},  NULL};
    enum tc_option_action action;
    struct tc_buf err;
    tc_buf_init(&err, 4096);
    memset(&opts, 0, sizeof(opts));
    assert_int_equal(tc_options_parse(worker_option_table, &opts, 8, argv, none, &action, &err), 0);
    assert_int_equal(worker_options_check(&opts, &err), 0);
    opts.redis = rig.url;
    tc_buf_fini(&err);
}

void start(void) {
    memset(&worker, 0, sizeof(worker));
    stopped = false;
    assert_int_equal(worker_start(&worker, &rig.loop, &opts, on_stopped, NULL), 0);
}

void stop(void) {
    worker_stop(&worker);
    publish_rig_until(&rig, &stopped);
}

void post(const char *gen, const char *request, const char *meta) {
    char job[64];
    publish_rig_create(&rig, gen, 0);
    publish_rig_do(&rig, "HSET tc:{%s}:meta request %s", gen, request);
    if (meta)
        publish_rig_do(&rig, "HSET tc:{%s}:meta %s %s", gen, meta, strchr(meta, '\0') + 1);
    snprintf(job, sizeof(job), "%s", publish_rig_str(&rig, "XADD tc:jobs * gen %s", gen));
    publish_rig_do(&rig, "HSETNX tc:{%s}:meta job %s", gen, job);
}

bool queue_is_empty(void *arg) {
    (void)arg;
    return publish_rig_int(&rig, "XLEN tc:jobs") == 0 && tc_list_empty(&worker.runs);
}

static bool log_has(void *arg) {
    return strstr(publish_rig_log(&rig, "gen_a"), arg) != NULL;
}

void await(const char *in_log) {
    char text[64];
    snprintf(text, sizeof(text), "%s", in_log);
    publish_rig_until_true(&rig, log_has, text);
}

int worker_setup(void **state) {
    (void)state;
    publish_rig_init(&rig);
    options_for_test();
    return 0;
}

int worker_teardown(void **state) {
    (void)state;
    publish_rig_fini(&rig);
    return 0;
}
