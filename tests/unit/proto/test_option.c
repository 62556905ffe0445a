/* The options table: where a value comes from, what it may be, what people are told. */
#include "base/option.h"

#include "tokencast/error.h"
#include "wire_support.h"

#include <stdio.h>
#include <stdlib.h>

struct opts {
    const char *redis, *overflow, *listen;
    int64_t loops, lease, bytes, any;
    bool anonymous;
};
#define AT(member) offsetof(struct opts, member)

static const struct tc_option table[] = {
    {"redis-url", TC_OPT_STRING, AT(redis), "redis://localhost", 0, 0, NULL, "Where Redis is"},
    {"loops", TC_OPT_INT, AT(loops), "1", 1, 64, NULL, "Threads"},
    {"lease", TC_OPT_DURATION, AT(lease), "10s", 1000, 3600000, NULL, "How long a claim holds"},
    {"bytes", TC_OPT_SIZE, AT(bytes), "256k", 1024, 1 << 30, NULL, "Bound"},
    {"any", TC_OPT_INT, AT(any), NULL, 0, 0, NULL, NULL},
    {"anonymous", TC_OPT_BOOL, AT(anonymous), "false", 0, 0, NULL, "Let everyone in"},
    {"overflow", TC_OPT_CHOICE, AT(overflow), "drop", 0, 0, "drop|merge|close", "What to do"},
    {"listen", TC_OPT_ADDRESS, AT(listen), NULL, 0, 0, NULL, "Address"},
    {0},
};

static struct tc_buf err;
static enum tc_option_action action;

#define PARSE(o, env, ...)                                                                                             \
    parse((o), (char *[]){(char *)(uintptr_t)(env), NULL}, (const char *[]){"prog", __VA_ARGS__, NULL})
#define NOTHING NULL

static int parse(struct opts *o, char **env, const char **args) {
    char *argv[16];
    int argc = 0;
    for (; args[argc] != NULL; argc++)
        argv[argc] = (char *)(uintptr_t)args[argc];
    argv[argc] = NULL;
    memset(o, 0, sizeof(*o));
    tc_buf_reset(&err);
    return tc_options_parse(table, o, argc, argv, env, &action, &err);
}

static int setup(void **state) {
    (void)state;
    tc_buf_init(&err, 0);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    tc_buf_fini(&err);
    return 0;
}

static void options_without_arguments_are_the_defaults(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, NOTHING), 0);
    assert_int_equal(action, TC_OPTION_RUN);
    assert_string_equal(o.redis, "redis://localhost");
    assert_true(o.loops == 1 && o.lease == 10000 && o.bytes == 262144 && o.any == 0 && !o.anonymous);
    assert_string_equal(o.overflow, "drop");
    assert_null(o.listen);
    assert_int_equal(err.len, 0);
}

static void options_flag_wins_over_variable_over_default(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, "TOKENCAST_REDIS_URL=redis://env", NOTHING), 0);
    assert_string_equal(o.redis, "redis://env");
    assert_int_equal(PARSE(&o, "TOKENCAST_REDIS_URL=redis://env", "--redis-url", "redis://flag"), 0);
    assert_string_equal(o.redis, "redis://flag");
    assert_int_equal(PARSE(&o, "TOKENCAST_REDIS_URL=", NOTHING), 0);
    assert_string_equal(o.redis, "redis://localhost");
    assert_int_equal(PARSE(&o, "TOKENCAST_LOOPS=nonsense", "--loops=2"), 0);
    assert_int_equal(o.loops, 2);
    assert_int_equal(PARSE(&o, NULL, "--loops=2", "--loops", "3"), 0);
    assert_int_equal(o.loops, 3);
}

static void options_foreign_variables_are_left_alone(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, "TOKENCAST_BROKER_SERVICE_HOST=10.0.0.1", NOTHING), 0);
    assert_int_equal(PARSE(&o, "LOOPS=9", NOTHING), 0);
    assert_int_equal(o.loops, 1);
    assert_int_equal(tc_options_parse(table, &o, 0, NULL, NULL, &action, &err), 0);
}

static void options_bad_variable_is_named(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, "TOKENCAST_LOOPS=many", NOTHING), TC_EINVAL);
    assert_buf(&err, "TOKENCAST_LOOPS: \"many\" is not a whole number");
}

static void options_bool_in_every_form(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--anonymous"), 0);
    assert_true(o.anonymous);
    assert_int_equal(PARSE(&o, NULL, "--anonymous=false"), 0);
    assert_false(o.anonymous);
    assert_int_equal(PARSE(&o, "TOKENCAST_ANONYMOUS=true", NOTHING), 0);
    assert_true(o.anonymous);
    assert_int_equal(PARSE(&o, "TOKENCAST_ANONYMOUS=true", "--no-anonymous"), 0);
    assert_false(o.anonymous);
    assert_int_equal(PARSE(&o, NULL, "--anonymous=maybe"), TC_EINVAL);
    assert_buf(&err, "--anonymous: \"maybe\" is neither true nor false");
    assert_int_equal(PARSE(&o, NULL, "--no-redis-url"), TC_EINVAL);
    assert_buf(&err, "unknown option --no-redis-url; did you mean --redis-url?");
    assert_int_equal(PARSE(&o, NULL, "--no-anonymous=true"), TC_EINVAL);
}

static void options_durations_and_sizes_have_units(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--lease=1500", "--bytes=4096"), 0);
    assert_true(o.lease == 1500 && o.bytes == 4096);
    assert_int_equal(PARSE(&o, NULL, "--lease=1500ms", "--bytes=64k"), 0);
    assert_true(o.lease == 1500 && o.bytes == 65536);
    assert_int_equal(PARSE(&o, NULL, "--lease=2m", "--bytes=3M"), 0);
    assert_true(o.lease == 120000 && o.bytes == 3145728);
    assert_int_equal(PARSE(&o, NULL, "--lease=1h", "--bytes=1g"), 0);
    assert_true(o.lease == 3600000 && o.bytes == 1 << 30);
    static const char *const bad[] = {"--lease=",    "--lease=s",   "--lease=1x",  "--lease=1.5s",
                                      "--lease=-5s", "--lease=1s ", "--lease=1sm", "--bytes=1kb",
                                      "--bytes=k",   "--loops=1k",  "--loops=-",   "--loops=0x1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(PARSE(&o, NULL, bad[i]), TC_EINVAL);
    assert_int_equal(PARSE(&o, NULL, "--lease=1x"), TC_EINVAL);
    assert_buf(&err, "--lease: \"1x\" is not a duration such as 500ms, 15s, 2m or 1h");
}

static void options_out_of_range_say_the_range(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--loops=0"), TC_ERANGE);
    assert_buf(&err, "--loops: 0 is out of range, which is 1 to 64");
    assert_int_equal(PARSE(&o, NULL, "--loops=64"), 0);
    assert_int_equal(PARSE(&o, NULL, "--loops=65"), TC_ERANGE);
    assert_int_equal(PARSE(&o, NULL, "--lease=999ms"), TC_ERANGE);
    assert_buf(&err, "--lease: 999ms is out of range, which is 1s to 1h");
    assert_int_equal(PARSE(&o, NULL, "--bytes=2g"), TC_ERANGE);
    assert_buf(&err, "--bytes: 2g is out of range, which is 1k to 1g");
    assert_int_equal(PARSE(&o, NULL, "--lease=9223372036854775807h"), TC_ERANGE);
    assert_int_equal(PARSE(&o, NULL, "--any=9223372036854775808"), TC_ERANGE);
    assert_int_equal(PARSE(&o, NULL, "--any=-9223372036854775807"), 0);
    assert_true(o.any == -INT64_MAX);
}

static void options_unknown_suggests_the_nearest(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--redis-ulr=x"), TC_EINVAL);
    assert_buf(&err, "unknown option --redis-ulr; did you mean --redis-url?");
    assert_int_equal(PARSE(&o, NULL, "--loop"), TC_EINVAL);
    assert_buf(&err, "unknown option --loop; did you mean --loops?");
    assert_int_equal(PARSE(&o, NULL, "--completely-different"), TC_EINVAL);
    assert_buf(&err, "unknown option --completely-different");
    assert_int_equal(PARSE(&o, NULL, "--any1=2"), TC_EINVAL); /* hidden options are not suggested */
    assert_buf(&err, "unknown option --any1");
}

static void options_missing_value_and_stray_words_are_refused(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--loops"), TC_EINVAL);
    assert_buf(&err, "--loops: a value is missing");
    assert_int_equal(PARSE(&o, NULL, "--loops", "--anonymous"), TC_EINVAL);
    assert_buf(&err, "--loops: a value is missing");
    assert_int_equal(PARSE(&o, NULL, "--any", "-5"), 0);
    assert_int_equal(o.any, -5);
    assert_int_equal(PARSE(&o, NULL, "stray"), TC_EINVAL);
    assert_buf(&err, "unexpected argument \"stray\"");
    assert_int_equal(PARSE(&o, NULL, "--"), TC_EINVAL);
    assert_int_equal(PARSE(&o, NULL, "-x"), TC_EINVAL);
    assert_int_equal(PARSE(&o, NULL, "--anonymous", "true"), TC_EINVAL);
}

static void options_choice_must_be_one_of_its_words(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--overflow=close"), 0);
    assert_string_equal(o.overflow, "close");
    assert_int_equal(PARSE(&o, NULL, "--overflow=dro"), TC_EINVAL);
    assert_buf(&err, "--overflow: \"dro\" is not one of drop|merge|close");
    assert_int_equal(PARSE(&o, NULL, "--overflow=drop|merge"), TC_EINVAL);
    assert_int_equal(PARSE(&o, NULL, "--overflow="), TC_EINVAL);
}

static void options_actions_are_reported(void **state) {
    struct opts o;
    (void)state;
    assert_int_equal(PARSE(&o, NULL, "--check-config", "--loops=3"), 0);
    assert_int_equal(action, TC_OPTION_CHECK);
    assert_int_equal(o.loops, 3);
    assert_int_equal(PARSE(&o, NULL, "--check-config", "--loops=0"), TC_ERANGE);
    assert_int_equal(PARSE(&o, NULL, "--probe", "--loops=3"), 0);
    assert_int_equal(action, TC_OPTION_PROBE);
    assert_int_equal(PARSE(&o, NULL, "--nonsense", "--help"), 0);
    assert_int_equal(action, TC_OPTION_HELP);
    assert_int_equal(PARSE(&o, NULL, "--version", "--nonsense"), 0);
    assert_int_equal(action, TC_OPTION_VERSION);
    assert_int_equal(PARSE(&o, NULL, "-h", "--version"), 0);
    assert_int_equal(action, TC_OPTION_HELP);
}

static void options_help_names_every_row_but_hidden_ones(void **state) {
    struct tc_buf text;
    char part[4096];
    FILE *f = tmpfile();
    (void)state;
    assert_non_null(f);
    tc_options_help(table, "tokencast-broker", "Relays.", f);
    rewind(f);
    tc_buf_init(&text, 0);
    for (size_t n; (n = fread(part, 1, sizeof(part), f)) > 0;)
        tc_buf_append(&text, part, n);
    fclose(f);
    char *help = tc_buf_take_cstr(&text);
    assert_ptr_equal(strstr(help, "Usage: tokencast-broker [options]\n\nRelays.\n"), help);
    for (const struct tc_option *row = table; row->name != NULL; row++) {
        char flag[32];
        snprintf(flag, sizeof(flag), "  --%s", row->name);
        assert_int_equal(strstr(help, flag) != NULL, row->help != NULL);
    }
    assert_non_null(strstr(help, "--lease DURATION\n      How long a claim holds\n"
                                 "      (TOKENCAST_LEASE, default 10s, 1s to 1h)\n"));
    assert_non_null(strstr(help, "(TOKENCAST_OVERFLOW, default drop, one of drop|merge|close)"));
    free(help);
}

static void address_splits_into_host_and_port(void **state) {
    char host[64];
    int port = -1;
    (void)state;
    assert_int_equal(tc_address_split("127.0.0.1:8080", host, sizeof(host), &port), 0);
    assert_string_equal(host, "127.0.0.1");
    assert_int_equal(port, 8080);
    assert_int_equal(tc_address_split("[::1]:0", host, sizeof(host), &port), 0);
    assert_string_equal(host, "::1");
    assert_int_equal(port, 0);
    assert_int_equal(tc_address_split("65535", host, sizeof(host), &port), 0);
    assert_string_equal(host, "");
    assert_int_equal(port, 65535);
    assert_int_equal(tc_address_split(":80", host, sizeof(host), &port), 0);
    assert_string_equal(host, "");
    static const char *const bad[] = {"",        ":",      "host",    "host:",       "host:65536",
                                      "host:-1", "::1:80", "[::1]",   "[::1]80",     "[]:80",
                                      "[::1:80", "a b:80", "host:8o", "host:000001", "a/b:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(tc_address_split(bad[i], host, sizeof(host), &port), TC_EINVAL);
    char longest[200];
    memset(longest, 'h', sizeof(longest));
    memcpy(longest + 64, ":80", 4);
    assert_int_equal(tc_address_split(longest, host, sizeof(host), &port), TC_EINVAL);
    struct opts o;
    assert_int_equal(PARSE(&o, NULL, "--listen", "0.0.0.0:80"), 0);
    assert_string_equal(o.listen, "0.0.0.0:80");
    assert_int_equal(PARSE(&o, NULL, "--listen", "nowhere"), TC_EINVAL);
    assert_buf(&err, "--listen: \"nowhere\" is not HOST:PORT, [IPV6]:PORT or PORT");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_without_arguments_are_the_defaults),
        cmocka_unit_test(options_flag_wins_over_variable_over_default),
        cmocka_unit_test(options_foreign_variables_are_left_alone),
        cmocka_unit_test(options_bad_variable_is_named),
        cmocka_unit_test(options_bool_in_every_form),
        cmocka_unit_test(options_durations_and_sizes_have_units),
        cmocka_unit_test(options_out_of_range_say_the_range),
        cmocka_unit_test(options_unknown_suggests_the_nearest),
        cmocka_unit_test(options_missing_value_and_stray_words_are_refused),
        cmocka_unit_test(options_choice_must_be_one_of_its_words),
        cmocka_unit_test(options_actions_are_reported),
        cmocka_unit_test(options_help_names_every_row_but_hidden_ones),
        cmocka_unit_test(address_splits_into_host_and_port),
    };
    return cmocka_run_group_tests_name("option", tests, setup, teardown);
}
