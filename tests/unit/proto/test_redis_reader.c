/* redis/reader.h and redis/fifo.h: pieces, bounds, order. */
#include "redis/fifo.h"
#include "redis/reader.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct heard {
    int replies, stop_after;
    size_t bytes;
};

static bool on_reply(void *arg, const redisReply *reply) {
    struct heard *h = arg;
    h->replies++;
    h->bytes += reply->type == REDIS_REPLY_STRING ? (size_t)reply->len : 0;
    return h->replies != h->stop_after;
}

static int feed(struct tc_reader *r, const char *text, struct heard *h) {
    return tc_reader_feed(r, text, strlen(text), on_reply, h);
}

static void reader_takes_a_reply_at_any_cut(void **state) {
    (void)state;
    static const char text[] = "*2\r\n$5\r\nhello\r\n*1\r\n:12\r\n+OK\r\n";
    for (size_t cut = 0; cut <= sizeof(text) - 1; cut++) {
        struct tc_reader r;
        struct heard h = {0};
        assert_int_equal(tc_reader_init(&r), 0);
        assert_int_equal(tc_reader_feed(&r, text, cut, on_reply, &h), 0);
        assert_int_equal(tc_reader_feed(&r, text + cut, sizeof(text) - 1 - cut, on_reply, &h), 0);
        assert_int_equal(h.replies, 2);
        tc_reader_fini(&r);
        tc_reader_fini(&r); /* zeroed memory is fine */
    }
}

static void reader_stops_when_told(void **state) {
    (void)state;
    struct tc_reader r;
    static const char *const replies[] = {"+1\r\n+2\r\n+3\r\n", "*0\r\n*0\r\n*0\r\n", "+1\r\n*0\r\n+3\r\n"};
    for (size_t i = 0; i < sizeof(replies) / sizeof(replies[0]); i++) {
        struct heard h = {.stop_after = 2};
        assert_int_equal(tc_reader_init(&r), 0);
        assert_int_equal(feed(&r, replies[i], &h), 0);
        assert_int_equal(h.replies, 2);
        tc_reader_fini(&r);
    }
}

static void reader_takes_one_large_reply_and_many_small(void **state) {
    (void)state;
    enum { SIZE = 3 << 20 };
    char *big = malloc(SIZE + 32);
    int head = snprintf(big, 32, "$%d\r\n", SIZE);
    memset(big + head, 'x', SIZE);
    memcpy(big + head + SIZE, "\r\n", 2);
    struct tc_reader r;
    struct heard h = {0};
    assert_int_equal(tc_reader_init(&r), 0);
    assert_int_equal(tc_reader_feed(&r, big, (size_t)head + SIZE + 2, on_reply, &h), 0);
    assert_int_equal(h.bytes, SIZE);
    for (int i = 0; i < 20000; i++)
        memcpy(big + (size_t)i * 5, ":12\r\n", 5);
    assert_int_equal(tc_reader_feed(&r, big, 100000, on_reply, &h), 0);
    assert_int_equal(h.replies, 20001);
    free(big);
    tc_reader_fini(&r);
}

static void reader_refuses_an_array_that_only_claims_to_be_long(void **state) {
    (void)state;
    struct tc_reader r;
    struct heard h = {0};
    assert_int_equal(tc_reader_init(&r), 0);
    assert_int_equal(feed(&r, "*1048577\r\n", &h), TC_EPROTO);
    assert_string_equal(tc_reader_reason(&r), "an array longer than the limit");
    tc_reader_fini(&r);
    assert_int_equal(tc_reader_init(&r), 0);
    assert_int_equal(feed(&r, "*1048576\r\n", &h), 0);
    tc_reader_fini(&r);
}

static void reader_refuses_a_reply_larger_than_the_limit(void **state) {
    (void)state;
    struct tc_reader r;
    struct heard h = {0};
    assert_int_equal(tc_reader_init(&r), 0);
    assert_int_equal(feed(&r, "$600000000\r\nabc", &h), 0);
    r.partial = TC_READER_MAX_BYTES - 3; /* as if that much had come */
    assert_int_equal(feed(&r, "def", &h), 0);
    assert_int_equal(feed(&r, "g", &h), TC_EPROTO);
    assert_string_equal(tc_reader_reason(&r), "a reply larger than the limit");
    tc_reader_fini(&r);
}

static void reader_counts_only_what_is_not_whole(void **state) {
    (void)state;
    struct tc_reader r;
    struct heard h = {0};
    assert_int_equal(tc_reader_init(&r), 0);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(feed(&r, "+hello\r\n+wor", &h), 0), assert_int_equal(feed(&r, "ld\r\n", &h), 0);
    assert_int_equal(h.replies, 2000);
    assert_int_equal(r.partial, 0);
    tc_reader_fini(&r);
}

static void fifo_keeps_order_while_it_grows_and_wraps(void **state) {
    (void)state;
    struct tc_fifo f = {0};
    struct tc_fifo_entry e;
    uint64_t in = 0, out = 0;
    assert_null(tc_fifo_peek(&f));
    assert_false(tc_fifo_pop(&f, &e));
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < round * 3; i++)
            assert_int_equal(tc_fifo_push(&f, (struct tc_fifo_entry){.sent_ms = in++}), 0);
        for (int i = 0; i < round * 2; i++) {
            assert_int_equal(tc_fifo_peek(&f)->sent_ms, out);
            assert_true(tc_fifo_pop(&f, &e));
            assert_int_equal(e.sent_ms, out++);
        }
    }
    assert_int_equal(f.count, in - out);
    tc_fifo_fini(&f);
    tc_fifo_fini(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_takes_a_reply_at_any_cut),
        cmocka_unit_test(reader_stops_when_told),
        cmocka_unit_test(reader_takes_one_large_reply_and_many_small),
        cmocka_unit_test(reader_refuses_an_array_that_only_claims_to_be_long),
        cmocka_unit_test(reader_refuses_a_reply_larger_than_the_limit),
        cmocka_unit_test(reader_counts_only_what_is_not_whole),
        cmocka_unit_test(fifo_keeps_order_while_it_grows_and_wraps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
