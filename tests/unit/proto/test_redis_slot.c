/* redis/slot.h: the function of the keys against known values, and what nodes say of slots. */
#include "redis/slot.h"

#include "redis/reader.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct tc_endpoint asked = {.host = "10.0.0.9", .port = 7000};

static void crc_of_the_check_string_is_known(void **state) {
    (void)state;
    assert_int_equal(tc_crc16(TC_STR("123456789")), 0x31C3);
    assert_int_equal(tc_crc16(TC_STR("")), 0);
}

static void slot_is_what_redis_says(void **state) {
    (void)state;
    /* CLUSTER KEYSLOT of redis-server 7.0.15 */
    static const struct {
        const char *key;
        unsigned slot;
    } known[] = {
        {"foo", 12182},
        {"bar", 5061},
        {"", 0},
        {"{user1000}.following", 3443},
        {"user1000", 3443},
        {"foo{}{bar}", 8363},
        {"foo{{bar}}zap", 4015},
        {"{bar", 4015},
        {"foo{bar}{zap}", 5061},
        {"foo{", 7673},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        assert_int_equal(tc_slot_of(tc_str_from(known[i].key)), known[i].slot);
}

/* ---- what a node says ---- */

static bool keep(void *arg, const redisReply *reply) {
    struct tc_slot_map **map = arg;
    if (tc_slot_map_read(*map, reply, &asked) != 0)
        *map = NULL;
    return true;
}

/* NULL: refused. */
static struct tc_slot_map *read_map(const char *bytes) {
    static struct tc_slot_map map;
    struct tc_slot_map *out = &map;
    struct tc_reader reader;
    memset(&map, 0, sizeof(map));
    assert_int_equal(tc_reader_init(&reader), 0);
    assert_int_equal(tc_reader_feed(&reader, bytes, strlen(bytes), keep, &out), 0);
    tc_reader_fini(&reader);
    return out;
}

static void map_names_owners(void **state) {
    (void)state;
    struct tc_slot_map *map = read_map("*3\r\n"
                                       "*4\r\n:0\r\n:99\r\n*2\r\n$8\r\n10.0.0.1\r\n:1\r\n*2\r\n$1\r\nr\r\n:9\r\n"
                                       "*3\r\n:100\r\n:16382\r\n*2\r\n$8\r\n10.0.0.2\r\n:2\r\n"
                                       "*3\r\n:16383\r\n:16383\r\n*2\r\n$8\r\n10.0.0.1\r\n:1\r\n");
    assert_non_null(map);
    assert_int_equal(map->count, 2); /* replicas are none of them */
    assert_string_equal(map->nodes[1].host, "10.0.0.2");
    assert_int_equal(map->nodes[1].port, 2);
    assert_int_equal(map->owner[0], 0);
    assert_int_equal(map->owner[99], 0);
    assert_int_equal(map->owner[100], 1);
    assert_int_equal(map->owner[16382], 1);
    assert_int_equal(map->owner[16383], 0);
}

static void map_without_a_host_means_the_one_asked(void **state) {
    (void)state;
    struct tc_slot_map *map =
        read_map("*2\r\n*3\r\n:0\r\n:1\r\n*2\r\n$-1\r\n:1\r\n*3\r\n:2\r\n:2\r\n*2\r\n$0\r\n\r\n:1\r\n");
    assert_non_null(map);
    assert_int_equal(map->count, 1);
    assert_string_equal(map->nodes[0].host, "10.0.0.9");
    assert_int_equal(map->owner[2], 0);
}

static void map_leaves_nonsense_out(void **state) {
    (void)state;
    static const char *const bad[] = {
        ":1\r\n",
        "*0\r\n",
        "*2\r\n:0\r\n:1\r\n",
        "*3\r\n:5\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:-1\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
        "*3\r\n:0\r\n:4\r\n*2\r\n$1\r\na\r\n:0\r\n",
        "*3\r\n:0\r\n:4\r\n*2\r\n$1\r\na\r\n:65536\r\n",
        "*3\r\n:0\r\n:4\r\n*1\r\n$1\r\na\r\n",
        "*3\r\n:0\r\n:4\r\n:1\r\n",
        "*3\r\n$1\r\nx\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char bytes[256];
        snprintf(bytes, sizeof(bytes), "*1\r\n%s", bad[i]);
        struct tc_slot_map *map = read_map(bytes);
        assert_non_null(map);
        assert_int_equal(map->count, 0);
        assert_int_equal(map->owner[0], TC_NO_NODE);
    }
    assert_null(read_map("-ERR This instance has cluster support disabled\r\n"));
    assert_null(read_map("$2\r\nhi\r\n"));
}

/* ---- redirections ---- */

static bool redirected(struct tc_redirect *to, const char *text) {
    char copy[512];
    snprintf(copy, sizeof(copy), "%s", text);
    const redisReply reply = {.type = REDIS_REPLY_ERROR, .str = copy, .len = strlen(copy)};
    return tc_redirect_read(to, &reply, &asked);
}

static void redirect_has_slot_and_address(void **state) {
    (void)state;
    struct tc_redirect to;
    assert_true(redirected(&to, "MOVED 3999 127.0.0.1:6381"));
    assert_false(to.ask);
    assert_int_equal(to.slot, 3999);
    assert_string_equal(to.at.host, "127.0.0.1");
    assert_int_equal(to.at.port, 6381);
    assert_true(redirected(&to, "ASK 16383 fe80::1:7001"));
    assert_true(to.ask);
    assert_string_equal(to.at.host, "fe80::1");
    assert_int_equal(to.at.port, 7001);
    assert_true(redirected(&to, "MOVED 1 :7001"));
    assert_string_equal(to.at.host, "10.0.0.9");
}

static void redirect_malformed_is_none(void **state) {
    (void)state;
    static const char *const bad[] = {
        "MOVED",
        "MOVED ",
        "MOVED 1",
        "MOVED 1 ",
        "MOVED 1 a",
        "MOVED 1 a:",
        "MOVED 1 a:0",
        "MOVED 1 a:65536",
        "MOVED 16384 a:1",
        "MOVED -1 a:1",
        "MOVED x a:1",
        "MOVED  a:1",
        "MOVED 99999999999999999999 a:1",
        "MOVEDX 1 a:1",
        "ASKING 1 a:1",
        "ERR MOVED 1 a:1",
        "",
    };
    struct tc_redirect to;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        if (redirected(&to, bad[i]))
            fail_msg("\"%s\"", bad[i]);
    char text[400] = "MOVED 1 ";
    memset(text + 8, 'a', 300);
    memcpy(text + 308, ":1", 3);
    assert_false(redirected(&to, text)); /* longer than its field */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_of_the_check_string_is_known),
        cmocka_unit_test(slot_is_what_redis_says),
        cmocka_unit_test(map_names_owners),
        cmocka_unit_test(map_without_a_host_means_the_one_asked),
        cmocka_unit_test(map_leaves_nonsense_out),
        cmocka_unit_test(redirect_has_slot_and_address),
        cmocka_unit_test(redirect_malformed_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
