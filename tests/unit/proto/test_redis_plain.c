/* redis/plain.h: what it takes is what hiredis would make of it, and it takes nothing else. */
#include "redis/plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In memory of just that length, so that a sanitizer sees a look behind it. */
static size_t scan(const char *bytes, size_t n, struct tc_plain *out) {
    char *copy = malloc(n);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    size_t size = tc_plain_scan(copy, n, out);
    free(copy);
    return size;
}

static void assert_text(const struct tc_plain *p, int type, const char *text) {
    assert_int_equal(p->reply.type, type);
    assert_int_equal(p->reply.len, strlen(text));
    assert_string_equal(p->reply.str, text);
}

static void plain_values_are_read_and_what_follows_is_left(void **state) {
    struct tc_plain p;
    (void)state;
    assert_int_equal(scan(":0\r\n:1\r\n", 8, &p), 4);
    assert_int_equal(p.reply.type, REDIS_REPLY_INTEGER);
    assert_int_equal(p.reply.integer, 0);
    assert_int_equal(scan(":999999999999999999\r\n", 21, &p), 21);
    assert_int_equal(p.reply.integer, 999999999999999999);
    assert_int_equal(scan("$3\r\n1-2\r\n+OK\r\n", 14, &p), 9);
    assert_text(&p, REDIS_REPLY_STRING, "1-2");
    assert_int_equal(scan("$4\r\na\r\nb\r\n", 10, &p), 10);
    assert_text(&p, REDIS_REPLY_STRING, "a\r\nb");
    assert_int_equal(scan("$0\r\n\r\n", 6, &p), 6);
    assert_text(&p, REDIS_REPLY_STRING, "");
    assert_int_equal(scan("+QUEUED\r\n", 9, &p), 9);
    assert_text(&p, REDIS_REPLY_STATUS, "QUEUED");
    assert_int_equal(scan("+\r\n", 3, &p), 3);
    assert_text(&p, REDIS_REPLY_STATUS, "");
}

/* `head`, n letters and "\r\n": taken whole up to the bound, and not at all behind it. */
static void assert_bound(const char *head, size_t n) {
    char bytes[TC_PLAIN_MAX + 16];
    struct tc_plain p;
    size_t at = strlen(head);
    memcpy(bytes, head, at);
    memset(bytes + at, 'x', n);
    memcpy(bytes + at + n, "\r\n", 2);
    size_t whole = at + n + 2;
    assert_int_equal(scan(bytes, whole, &p), n <= TC_PLAIN_MAX ? whole : 0);
}

static void plain_text_has_a_bound(void **state) {
    (void)state;
    for (size_t n = TC_PLAIN_MAX - 1; n <= TC_PLAIN_MAX + 1; n++) {
        char head[8];
        snprintf(head, sizeof(head), "$%zu\r\n", n);
        assert_bound(head, n);
        assert_bound("+", n);
    }
}

static void plain_cut_anywhere_is_left(void **state) {
    static const char *const whole[] = {":1234\r\n", "$12\r\nabcdefghijkl\r\n", "+PONG\r\n"};
    struct tc_plain p;
    (void)state;
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
        for (size_t n = 1; n < strlen(whole[i]); n++)
            assert_int_equal(scan(whole[i], n, &p), 0);
}

static void plain_other_is_left(void **state) {
    static const char *const others[] = {
        "*1\r\n:1\r\n",
        "-ERR no\r\n",
        ":-1\r\n",
        ":+1\r\n",
        ":01\r\n",
        ":1x\r\n",
        ":\r\n",
        ":1\rx\n",
        ":1\nx\r\n",
        ":1000000000000000000\r\n",
        "$-1\r\n",
        "$01\r\na\r\n",
        "$\r\n\r\n",
        "$1\r\nab\r\n",
        "$1\r\na\rx",
        "$1\nxa\r\n",
        "+a\nb\r\n",
        "+a\rb\r\n",
        "x",
        "$999999999999999999\r\na\r\n",
        "_\r\n",
        "#t\r\n",
    };
    struct tc_plain p;
    (void)state;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        if (scan(others[i], strlen(others[i]), &p) != 0)
            fail_msg("%s is taken", others[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_values_are_read_and_what_follows_is_left),
        cmocka_unit_test(plain_text_has_a_bound),
        cmocka_unit_test(plain_cut_anywhere_is_left),
        cmocka_unit_test(plain_other_is_left),
    };
    return cmocka_run_group_tests_name("redis_plain", tests, NULL, NULL);
}
