/* The worker's options: defaults, and what belongs together. */
#include "run/options.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct worker_options opts;

/* Up to three flags; the result of parsing and checking. */
static int read_options(const char *a, const char *b, const char *c) {
    static char *none[] = {NULL};
    char flags[3][64];
    char *argv[] = {(char[]){"worker"}, flags[0], flags[1], flags[2], NULL};
    const char *given[] = {a, b, c};
    int argc = 1;
    enum tc_option_action action;
    struct tc_buf err;
    for (int i = 0; i < 3 && given[i]; i++)
        argc += snprintf(flags[i], sizeof(flags[i]), "%s", given[i]) > 0;
    argv[argc] = NULL;
    tc_buf_init(&err, 1024);
    memset(&opts, 0, sizeof(opts));
    int rc = tc_options_parse(worker_option_table, &opts, argc, argv, none, &action, &err);
    if (rc == 0)
        rc = worker_options_check(&opts, &err);
    assert_true((rc < 0) == (err.len > 0));
    tc_buf_fini(&err);
    return rc;
}

static void options_defaults_are_valid_and_replay(void **state) {
    (void)state;
    assert_int_equal(read_options(NULL, NULL, NULL), 0);
    assert_string_equal(opts.provider, "replay");
    assert_int_equal(opts.slots, 256);
    assert_int_equal(opts.lease_ms, 10000);
    assert_int_equal(opts.settle, 15000);
    assert_int_equal(opts.flush_tokens, 1);
    assert_int_equal(opts.retention, 3600000);
    assert_string_equal(opts.prefix, "tc:");
    assert_string_equal(opts.queue, "");
    assert_null(opts.model);
}

static void options_provider_needs_an_upstream(void **state) {
    (void)state;
    assert_int_equal(read_options("--upstream=http://127.0.0.1:1/v1", NULL, NULL), TC_EINVAL);
    assert_int_equal(read_options("--upstream=http://127.0.0.1:1/v1", "--provider=openai", NULL), 0);
    assert_int_equal(read_options("--provider=anthropic", NULL, NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=parrot", NULL, NULL), TC_EINVAL);
}

static void options_names_that_end_in_keys_are_checked(void **state) {
    (void)state;
    assert_int_equal(read_options("--provider=replay", "--prefix=a b", NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=replay", "--prefix={x}", NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=replay", "--queue=a:b", NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=replay", "--name=a b", NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=replay", "--queue=slow", "--name=w-1"), 0);
}

static void options_certificate_needs_its_key(void **state) {
    (void)state;
    assert_int_equal(read_options("--provider=replay", "--redis-cert-file=c.pem", NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=replay", "--redis-cert-file=c.pem", "--redis-key-file=k.pem"), 0);
}

static void options_vllm_is_a_way_of_openai(void **state) {
    (void)state;
    assert_int_equal(read_options("--provider=openai", "--upstream=http://h/v1", "--continue=vllm"), 0);
    assert_string_equal(opts.going_on, "vllm");
    assert_int_equal(read_options("--provider=replay", NULL, NULL), 0);
    assert_string_equal(opts.going_on, "auto");
    assert_int_equal(read_options("--provider=replay", "--continue=vllm", NULL), TC_EINVAL);
    assert_int_equal(read_options("--provider=replay", "--continue=perhaps", NULL), TC_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_defaults_are_valid_and_replay),
        cmocka_unit_test(options_provider_needs_an_upstream),
        cmocka_unit_test(options_names_that_end_in_keys_are_checked),
        cmocka_unit_test(options_certificate_needs_its_key),
        cmocka_unit_test(options_vllm_is_a_way_of_openai),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
