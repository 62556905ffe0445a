/* redis/url.h: what is taken, what is refused, and that nothing overruns its field. */
#include "redis/url.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct tc_redis_url parsed(const char *text) {
    struct tc_redis_url url;
    assert_int_equal(tc_redis_url_parse(&url, tc_str_from(text)), 0);
    return url;
}

static int refused(const char *text) {
    struct tc_redis_url url;
    struct tc_redis_url zero;
    memset(&zero, 0, sizeof(zero));
    int rc = tc_redis_url_parse(&url, tc_str_from(text));
    if (rc)
        assert_memory_equal(&url, &zero, sizeof(url));
    return rc;
}

static void url_host_alone_takes_defaults(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("redis://redis.example");
    assert_string_equal(u.at.host, "redis.example");
    assert_string_equal(u.at.path, "");
    assert_int_equal(u.at.port, 6379);
    assert_int_equal(u.db, 0);
    assert_false(u.tls);
    assert_false(u.has_password);
    assert_string_equal(u.user, "");
}

static void url_whole_is_split(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("rediss://worker:s%40cret%2F@10.0.0.7:6380/3");
    assert_true(u.tls);
    assert_string_equal(u.user, "worker");
    assert_string_equal(u.password, "s@cret/");
    assert_true(u.has_password);
    assert_string_equal(u.at.host, "10.0.0.7");
    assert_int_equal(u.at.port, 6380);
    assert_int_equal(u.db, 3);
}

static void url_password_without_user_is_the_default_users(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("redis://:pw@h/");
    assert_string_equal(u.user, "");
    assert_string_equal(u.password, "pw");
    assert_true(u.has_password);
}

static void url_user_without_password_has_none(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("redis://broker@h");
    assert_string_equal(u.user, "broker");
    assert_false(u.has_password);
}

static void url_password_may_hold_colon_and_at(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("redis://u:a:b@c@h:1");
    assert_string_equal(u.password, "a:b@c");
    assert_string_equal(u.at.host, "h");
    assert_int_equal(u.at.port, 1);
}

static void url_ipv6_host_is_bracketed(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("redis://u:p@[fe80::1%25eth0]:7000/1");
    assert_string_equal(u.at.host, "fe80::1%eth0");
    assert_int_equal(u.at.port, 7000);
    char text[64];
    tc_endpoint_format(&u.at, text, sizeof(text));
    assert_string_equal(text, "[fe80::1%eth0]:7000");
    u = parsed("redis://[::1]");
    assert_string_equal(u.at.host, "::1");
    assert_int_equal(u.at.port, 6379);
}

static void url_unix_socket_has_path_and_database(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("unix:///run/redis%20a/b@c.sock?db=12");
    assert_string_equal(u.at.path, "/run/redis a/b@c.sock");
    assert_string_equal(u.at.host, "");
    assert_int_equal(u.db, 12);
    u = parsed("unix://u:p@/s");
    assert_string_equal(u.at.path, "/s");
    assert_string_equal(u.user, "u");
    assert_string_equal(u.password, "p");
}

static void url_sentinels_have_a_master_and_a_database(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("redis+sentinel://u:p%2Cw@s1:26380,s2,[::1]:9/my%2Fmaster/3");
    assert_int_equal(u.kind, TC_REDIS_SENTINEL);
    assert_false(u.tls);
    assert_int_equal(u.seed_count, 3);
    assert_string_equal(u.seeds[0].host, "s1");
    assert_int_equal(u.seeds[0].port, 26380);
    assert_string_equal(u.seeds[1].host, "s2");
    assert_int_equal(u.seeds[1].port, TC_SENTINEL_PORT);
    assert_string_equal(u.seeds[2].host, "::1");
    assert_string_equal(u.master, "my/master");
    assert_int_equal(u.db, 3);
    assert_string_equal(u.user, "u");
    assert_string_equal(u.password, "p,w");
    u = parsed("rediss+sentinel://s/m");
    assert_true(u.tls);
    assert_int_equal(u.db, 0);
}

static void url_cluster_has_seeds_and_no_database(void **state) {
    (void)state;
    struct tc_redis_url u = parsed("rediss+cluster://:pw@a:1,b/");
    assert_int_equal(u.kind, TC_REDIS_CLUSTER);
    assert_true(u.tls);
    assert_int_equal(u.seed_count, 2);
    assert_int_equal(u.seeds[1].port, TC_REDIS_PORT);
    assert_string_equal(u.password, "pw");
    assert_int_equal(parsed("redis+cluster://a?db=0").db, 0);
    assert_int_equal(refused("redis+cluster://a?db=1"), TC_ERANGE);
    assert_int_equal(refused("redis+cluster://a/1"), TC_ESYNTAX);
}

static void url_has_a_bound_on_seeds(void **state) {
    (void)state;
    char text[128] = "redis+cluster://a";
    for (int i = 1; i < TC_REDIS_SEEDS; i++)
        memcpy(text + strlen(text), ",a", 3);
    assert_int_equal(parsed(text).seed_count, TC_REDIS_SEEDS);
    memcpy(text + strlen(text), ",a", 3);
    assert_int_equal(refused(text), TC_ERANGE);
}

static void url_malformed_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",
        "redis",
        "redis:/h",
        "http://h",
        "redis://",
        "redis:///1",
        "redis://:1",
        "redis://u:p@",
        "redis://h:",
        "redis://h:x",
        "redis://h:1x",
        "redis://h:-1",
        "redis:// ?",
        "redis://h/a",
        "redis://h/1/2",
        "redis://h/-1",
        "redis://[::1",
        "redis://[]",
        "redis://h%",
        "redis://h%4",
        "redis://h%zz",
        "redis://h%00x",
        "redis://::1:1",
        "redis://[::1]6",
        "unix://",
        "unix://a",
        "unix:///",
        "unix://u:p@s",
        "redis://h?db=",
        "redis://h?x=1",
        "redis://h?",
        "unix:///s?db=",
        "unix:///s?db=1&b=",
        "redis://u%0:p@h",
        "REDIS://h",
        "redis+sentinel://h",
        "redis+sentinel://h/",
        "redis+sentinel:///m",
        "redis+sentinel://h,/m",
        "redis+sentinel://,h/m",
        "redis+sentinel://h/m/x",
        "redis+sentinel://h/m/1/2",
        "redis+cluster://",
        "redis+cluster://a,,b",
        "redis+cluster://a:x",
        "redis+unix:///s",
        "redis+cluster:///",

    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (refused(bad[i]) == 0)
            fail_msg("\"%s\"", bad[i]);
    }
}

static void url_number_out_of_range_is_refused(void **state) {
    (void)state;
    assert_int_equal(refused("redis://h:0"), TC_ERANGE);
    assert_int_equal(refused("redis://h:65536"), TC_ERANGE);
    assert_int_equal(refused("redis://h:99999999999999999999999"), TC_ERANGE);
    assert_int_equal(refused("redis://h/1000000"), TC_ERANGE);
    assert_int_equal(parsed("redis://h:65535/999999").db, 999999);
}

static void url_part_longer_than_its_field_is_refused(void **state) {
    (void)state;
    char text[2200];
    memset(text, 'a', sizeof(text));
    memcpy(text, "redis://", 8);
    struct tc_redis_url u;
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, 8 + 255}), 0);
    assert_int_equal(strlen(u.at.host), 255);
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, 8 + 256}), TC_ETOOLARGE);

    memcpy(text, "unix:///", 8);
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, 7 + 107}), 0);
    assert_int_equal(strlen(u.at.path), 107);
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, 7 + 108}), TC_ETOOLARGE);

    memcpy(text, "redis://:", 9);
    text[9 + 1023] = '@';
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, 9 + 1023 + 2}), 0);
    text[9 + 1023] = 'a';
    text[9 + 1024] = '@';
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, 9 + 1024 + 2}), TC_ETOOLARGE);
}

static void url_longer_than_the_limit_is_refused(void **state) {
    (void)state;
    char *text = calloc(1, TC_REDIS_URL_MAX + 2);
    memset(text, '0', TC_REDIS_URL_MAX + 1);
    memcpy(text, "redis://h/", 10);
    struct tc_redis_url u;
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, TC_REDIS_URL_MAX}), 0);
    assert_int_equal(tc_redis_url_parse(&u, (struct tc_str){text, TC_REDIS_URL_MAX + 1}), TC_ETOOLARGE);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_host_alone_takes_defaults),
        cmocka_unit_test(url_whole_is_split),
        cmocka_unit_test(url_password_without_user_is_the_default_users),
        cmocka_unit_test(url_user_without_password_has_none),
        cmocka_unit_test(url_password_may_hold_colon_and_at),
        cmocka_unit_test(url_ipv6_host_is_bracketed),
        cmocka_unit_test(url_unix_socket_has_path_and_database),
        cmocka_unit_test(url_malformed_is_refused),
        cmocka_unit_test(url_sentinels_have_a_master_and_a_database),
        cmocka_unit_test(url_cluster_has_seeds_and_no_database),
        cmocka_unit_test(url_has_a_bound_on_seeds),
        cmocka_unit_test(url_number_out_of_range_is_refused),
        cmocka_unit_test(url_part_longer_than_its_field_is_refused),
        cmocka_unit_test(url_longer_than_the_limit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
