/* The broker's options: defaults, who may listen where, and what belongs together. */
#include "options.h"

#include "feed_events.h"
#include "tokencast/error.h"

static struct broker_options opts;

/* Up to two flags; the result of parsing and checking. */
static int read_options(const char *a, const char *b) {
    static char *none[] = {NULL};
    char flags[2][64];
    char *argv[] = {(char[]){"broker"}, flags[0], flags[1], NULL};
    enum tc_option_action action;
    struct tc_buf err;
    int argc = 1;
    if (a != NULL)
        argc += snprintf(flags[0], sizeof flags[0], "%s", a) > 0;
    if (b != NULL)
        argc += snprintf(flags[1], sizeof flags[1], "%s", b) > 0;
    argv[argc] = NULL;
    tc_buf_init(&err, 1024);
    memset(&opts, 0, sizeof opts);
    int rc = tc_options_parse(broker_option_table, &opts, argc, argv, none, &action, &err);
    if (rc == 0)
        rc = broker_options_check(&opts, &err);
    assert_true((rc < 0) == (err.len > 0));
    tc_buf_fini(&err);
    return rc;
}

static void options_defaults_are_valid(void **state) {
    (void)state;
    assert_int_equal(read_options(NULL, NULL), 0);
    assert_int_equal(opts.lag_events, 1024);
    assert_int_equal(opts.lag_bytes, 256 * 1024);
    assert_int_equal(opts.heartbeat, 15000);
    assert_int_equal(opts.retention, 3600000);
    assert_false(opts.allow_anonymous);
}

static void options_beyond_loopback_needs_allow_anonymous(void **state) {
    (void)state;
    static const char *const open[] = {"--listen=0.0.0.0:80", "--listen=[::]:80", "--listen=10.1.2.3:80", "--listen=80",
                                       "--listen=host.example:80"};
    static const char *const own[] = {"--listen=127.0.0.1:0", "--listen=127.9.9.9:80", "--listen=[::1]:80",
                                      "--listen=localhost:80"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++) {
        assert_int_equal(read_options(open[i], NULL), TC_EINVAL);
        assert_int_equal(read_options(open[i], "--allow-anonymous"), 0);
    }
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        assert_int_equal(read_options(own[i], NULL), 0);
}

/* A name may begin with what looks like a loopback address and still lead elsewhere. */
static void options_name_that_looks_like_loopback_is_not(void **state) {
    (void)state;
    assert_int_equal(read_options("--listen=localhost.example:80", NULL), TC_EINVAL);
    assert_int_equal(read_options("--listen=127.evil.example:80", NULL), TC_EINVAL);
    assert_int_equal(read_options("--listen=127.0.0.1.example:80", NULL), TC_EINVAL);
}

static void options_names_are_checked(void **state) {
    (void)state;
    assert_int_equal(read_options("--prefix={x}", NULL), TC_EINVAL);
    assert_int_equal(read_options("--queue=a:b", NULL), TC_EINVAL);
    assert_int_equal(read_options("--cors-origins=example", NULL), TC_EINVAL);
    assert_int_equal(read_options("--redis-cert-file=c.pem", NULL), TC_EINVAL);
    assert_int_equal(read_options("--redis-cert-file=c.pem", "--redis-key-file=k.pem"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_defaults_are_valid),
        cmocka_unit_test(options_beyond_loopback_needs_allow_anonymous),
        cmocka_unit_test(options_name_that_looks_like_loopback_is_not),
        cmocka_unit_test(options_names_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
