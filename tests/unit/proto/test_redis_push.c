/* redis/push.h, and how the reader joins it with hiredis: the same is heard at every cut. */
#define _GNU_SOURCE /* memmem() */
#include "redis/push.h"
#include "redis/reader.h"

#include "base/buf.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MESSAGE(channel_n, channel, n, payload)                                                                        \
    "*3\r\n$7\r\nmessage\r\n$" channel_n "\r\n" channel "\r\n$" n "\r\n" payload "\r\n"

static void assert_is(struct tc_str s, const char *text) {
    assert_int_equal(s.n, strlen(text));
    assert_memory_equal(s.p, text, s.n);
}

static void push_whole_lies_in_the_bytes(void **state) {
    (void)state;
    static const char bytes[] = MESSAGE("4", "bell", "5", "he\r\no") "more";
    struct tc_push m;
    assert_int_equal(tc_push_scan(bytes, sizeof(bytes) - 1, &m), TC_PUSH_WHOLE);
    assert_int_equal(m.size, sizeof(bytes) - 1 - 4);
    assert_is(m.channel, "bell");
    assert_is(m.payload, "he\r\no");
    static const char sharded[] = "*3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$0\r\n\r\n";
    assert_int_equal(tc_push_scan(sharded, sizeof(sharded) - 1, &m), TC_PUSH_WHOLE);
    assert_is(m.channel, "c");
    assert_is(m.payload, "");
}

/* What it says it needs is never more than there is to come, and asking again gets to the end. */
static void push_part_needs_no_more_than_the_whole(void **state) {
    (void)state;
    static const char bytes[] = MESSAGE("12", "abcdefghijkl", "10", "0123456789");
    const size_t whole = sizeof(bytes) - 1;
    struct tc_push m;
    for (size_t n = 1; n < whole; n++) {
        assert_int_equal(tc_push_scan(bytes, n, &m), TC_PUSH_PART);
        assert_in_range(m.size, n + 1, whole);
    }
}

static void push_other_is_left_to_the_reader(void **state) {
    (void)state;
    static const char *const others[] = {
        "*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n",
        "*3\r\n$7\r\nmessagE\r\n$1\r\nc\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n:1\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$-1\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$\r\n",
        "*3\r\n$7\r\nmessage\r\n$01\r\nc\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\rc\r\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\ncc\n$1\r\nx\r\n",
        "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r.",
        "*3\r\n$7\r\nmessage\r\n$999999999999999999999999999\r\n",
        "+PONG\r\n",
        "x",
    };
    struct tc_push m;
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_int_equal(tc_push_scan(others[i], strlen(others[i]), &m), TC_PUSH_OTHER);
}

static void push_seek_finds_the_next_place(void **state) {
    (void)state;
    static const char bytes[] = "*3\r\n$1\r\nx\r\n*3\r\n$7\r\nmessage";
    assert_int_equal(tc_push_seek(bytes, sizeof(bytes) - 1), 11);
    assert_int_equal(tc_push_seek(bytes, 11), 11);
    assert_int_equal(tc_push_seek(bytes, 1), 1);
}

struct heard {
    struct tc_buf text; /* what was heard, in order */
    int messages, replies, stop_after;
    size_t together; /* most in one call */
};

static bool on_reply(void *arg, const redisReply *reply) {
    struct heard *h = arg;
    if (reply->type == REDIS_REPLY_ARRAY && tc_str_is(tc_reply_str(reply->element[0]), "message")) {
        struct tc_str channel = tc_reply_str(reply->element[1]), payload = tc_reply_str(reply->element[2]);
        tc_buf_printf(&h->text, "%.*s=%.*s;", (int)channel.n, channel.p, (int)payload.n, payload.p);
    } else {
        tc_buf_printf(&h->text, "<%d>", reply->type);
    }
    return true;
}

static bool on_any(void *arg, const redisReply *reply) {
    struct heard *h = arg;
    (void)reply;
    h->replies++;
    return true;
}

static bool on_messages(void *arg, const struct tc_push *m, size_t n) {
    struct heard *h = arg;
    assert_in_range(n, 1, TC_READER_TOGETHER);
    for (size_t i = 0; i < n; i++) {
        tc_buf_printf(&h->text, "%.*s=%.*s;", (int)m[i].channel.n, m[i].channel.p, (int)m[i].payload.n, m[i].payload.p);
        if (++h->messages == h->stop_after)
            return false;
    }
    h->together = n > h->together ? n : h->together;
    return true;
}

static const char mixed[] = "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n" MESSAGE("1", "a", "3", "one")
    MESSAGE("1", "a", "30", "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r") "*2\r\n$4\r\npong\r\n$0\r\n\r\n" MESSAGE(
        "1", "b", "5", "three") "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:0\r\n" MESSAGE("1", "b", "4", "four");

static void reader_hears_the_same_at_any_two_cuts(void **state) {
    (void)state;
    const size_t n = sizeof(mixed) - 1;
    static const char expected[] = "<2>a=one;a=*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r;<2>b=three;<2>b=four;";
    for (size_t i = 0; i <= n; i++) {
        for (size_t j = i; j <= n; j++) {
            struct tc_reader r;
            struct heard h = {0};
            assert_int_equal(tc_reader_init(&r), 0);
            r.on_messages = on_messages;
            assert_int_equal(tc_reader_feed(&r, mixed, i, on_reply, &h), 0);
            assert_int_equal(tc_reader_feed(&r, mixed + i, j - i, on_reply, &h), 0);
            assert_int_equal(tc_reader_feed(&r, mixed + j, n - j, on_reply, &h), 0);
            assert_is(tc_buf_str(&h.text), expected);
            if (i == j && (i == 0 || i == n))
                assert_int_equal(h.messages, 4); /* none as a reply where all came at once */
            tc_buf_fini(&h.text);
            tc_reader_fini(&r);
        }
    }
}

static void reader_in_single_bytes_hears_the_same(void **state) {
    (void)state;
    struct tc_reader r;
    struct heard h = {0};
    assert_int_equal(tc_reader_init(&r), 0);
    r.on_messages = on_messages;
    for (size_t i = 0; i < sizeof(mixed) - 1; i++)
        assert_int_equal(tc_reader_feed(&r, mixed + i, 1, on_reply, &h), 0);
    assert_int_equal(h.messages, 4);
    tc_buf_fini(&h.text);
    tc_reader_fini(&r);
}

static void reader_hears_many_messages_a_few_at_a_time(void **state) {
    (void)state;
    struct tc_buf bytes = {0}, expected = {0};
    struct tc_reader r;
    struct heard h = {0};
    for (int i = 0; i < 2 * TC_READER_TOGETHER + 3; i++) {
        tc_buf_printf(&bytes, MESSAGE("1", "a", "2", "%02d"), i);
        tc_buf_printf(&expected, "a=%02d;", i);
    }
    assert_int_equal(tc_reader_init(&r), 0);
    r.on_messages = on_messages;
    assert_int_equal(tc_reader_feed(&r, bytes.data, bytes.len, on_reply, &h), 0);
    assert_int_equal(h.together, TC_READER_TOGETHER);
    tc_buf_putc(&expected, 0);
    assert_is(tc_buf_str(&h.text), expected.data);
    tc_buf_fini(&h.text);
    tc_buf_fini(&bytes);
    tc_buf_fini(&expected);
    tc_reader_fini(&r);
}

/* What begins like a message and is something else is not waited with. */
static void reader_hears_what_is_shorter_than_a_message_at_once(void **state) {
    (void)state;
    static const char *const others[] = {"*0\r\n", "*3\r\n:1\r\n:2\r\n:3\r\n",
                                         "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n:1\r\n"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        for (size_t piece = 1; piece <= strlen(others[i]); piece++) {
            struct tc_reader r;
            struct heard h = {0};
            size_t n = strlen(others[i]);
            assert_int_equal(tc_reader_init(&r), 0);
            r.on_messages = on_messages;
            for (size_t at = 0; at < n; at += piece)
                assert_int_equal(tc_reader_feed(&r, others[i] + at, n - at < piece ? n - at : piece, on_any, &h), 0);
            assert_int_equal(h.replies, 1);
            tc_reader_fini(&r);
        }
    }
}

static void reader_told_to_stop_drops_the_rest(void **state) {
    (void)state;
    struct tc_reader r;
    struct heard h = {.stop_after = 2};
    assert_int_equal(tc_reader_init(&r), 0);
    r.on_messages = on_messages;
    assert_int_equal(tc_reader_feed(&r, mixed, sizeof(mixed) - 1, on_reply, &h), 0);
    assert_int_equal(h.messages, 2);
    assert_false(memmem(h.text.data, h.text.len, "three", 5) != NULL);
    tc_buf_fini(&h.text);
    tc_reader_fini(&r);
}

static void reader_gives_a_large_message_in_pieces_and_its_memory_back(void **state) {
    (void)state;
    enum { SIZE = 1 << 20 };
    struct tc_buf bytes = {0};
    struct tc_reader r;
    struct heard h = {0};
    tc_buf_printf(&bytes, "*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$%d\r\n", SIZE);
    for (int i = 0; i < SIZE; i++)
        tc_buf_putc(&bytes, 'x');
    tc_buf_puts(&bytes, "\r\n+PONG\r\n");
    assert_int_equal(tc_reader_init(&r), 0);
    r.on_messages = on_messages;
    for (size_t i = 0; i < bytes.len; i += 65536)
        assert_int_equal(
            tc_reader_feed(&r, bytes.data + i, bytes.len - i < 65536 ? bytes.len - i : 65536, on_reply, &h), 0);
    assert_int_equal(h.messages, 1);
    assert_int_equal(h.text.len, 2 + SIZE + 1 + 3);
    assert_int_equal(r.held.cap, 0);
    tc_buf_fini(&h.text);
    tc_buf_fini(&bytes);
    tc_reader_fini(&r);
}

static void reader_after_garbage_says_so(void **state) {
    (void)state;
    struct tc_reader r;
    struct heard h = {0};
    assert_int_equal(tc_reader_init(&r), 0);
    r.on_messages = on_messages;
    static const char bytes[] = MESSAGE("1", "a", "3", "one") "*3\r\n$7\r\nmessage\r\n$x\r\n";
    assert_int_equal(tc_reader_feed(&r, bytes, sizeof(bytes) - 1, on_reply, &h), TC_EPROTO);
    assert_int_equal(h.messages, 1);
    tc_buf_fini(&h.text);
    tc_reader_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(push_whole_lies_in_the_bytes),
        cmocka_unit_test(push_part_needs_no_more_than_the_whole),
        cmocka_unit_test(push_other_is_left_to_the_reader),
        cmocka_unit_test(push_seek_finds_the_next_place),
        cmocka_unit_test(reader_hears_the_same_at_any_two_cuts),
        cmocka_unit_test(reader_in_single_bytes_hears_the_same),
        cmocka_unit_test(reader_hears_many_messages_a_few_at_a_time),
        cmocka_unit_test(reader_hears_what_is_shorter_than_a_message_at_once),
        cmocka_unit_test(reader_told_to_stop_drops_the_rest),
        cmocka_unit_test(reader_gives_a_large_message_in_pieces_and_its_memory_back),
        cmocka_unit_test(reader_after_garbage_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
