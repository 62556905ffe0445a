/* The chunked decoder: whatever the cuts, the same payload; whatever is doubtful, refused. */
#include "http/chunked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <tokencast/error.h>

#include <cmocka.h>

/* Feeds `text` in two pieces, cut at `cut`, decoding in place. Returns the last result. */
static int decode(const char *text, size_t n, size_t cut, size_t room, size_t spare, char *out, size_t *out_len) {
    struct chunked c;
    char buf[4096];
    size_t have = 0, pos[3] = {0, cut, n};
    int rc = 0;
    chunked_init(&c, spare);
    *out_len = 0;
    for (int i = 0; i < 2 && rc == 0; i++) {
        size_t taken = 0, written = 0, len = pos[i + 1] - pos[i];
        memcpy(buf + have, text + pos[i], len);
        rc = chunked_feed(&c, buf + have, len, &taken, buf + have, room - have, &written);
        if (rc >= 0)
            have += written;
        if (rc == 0)
            assert_int_equal(taken, len);
    }
    memcpy(out, buf, have);
    *out_len = have;
    return rc;
}

static void expect(const char *text, int want, const char *payload) {
    char out[4096];
    size_t len = 0, n = strlen(text);
    for (size_t cut = 0; cut <= n; cut++) {
        int rc = decode(text, n, cut, 1000, 100, out, &len);
        assert_int_equal(rc, want);
        if (want < 0)
            continue;
        assert_int_equal(len, strlen(payload));
        assert_memory_equal(out, payload, len);
    }
}

static void chunked_body_cut_anywhere_decodes_the_same(void **state) {
    (void)state;
    expect("5\r\nhello\r\n0\r\n\r\n", 1, "hello");
    expect("5\r\nhello\r\n0000A\r\n, world...\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", 1, "hello, world...");
    expect("1;name=value\r\na\r\n0;last\r\n\r\n", 1, "a");
    expect("0\r\n\r\n", 1, "");
}

static void chunked_body_unfinished_wants_more(void **state) {
    (void)state;
    expect("5\r\nhel", 0, "hel");
    expect("5\r\nhello\r\n", 0, "hello");
    expect("0\r\n", 0, "");
}

static void chunked_size_malformed_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "\r\n",
        "x\r\n",
        "-1\r\n",
        " 5\r\nhello",
        "5 \r\nhello",
        "0x5\r\nhello",
        "5\nhello",
        "000000005\r\nhello",
        "5\r\nhello!\n",
        "5\r\nhelloo\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "0\r\n\r!",
        "0\r\nA: b\n\r\n",
        "5;\x01\r\nhello",
        "0\r\nA\x7f: b\r\n\r\n",
        "5\rhello",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char out[4096];
        size_t len;
        assert_int_equal(decode(bad[i], strlen(bad[i]), 0, 1000, 100, out, &len), TC_ESYNTAX);
    }
}

static void chunked_size_beyond_room_is_refused_when_announced(void **state) {
    (void)state;
    char out[4096];
    size_t len;
    assert_int_equal(decode("6\r\n", 3, 0, 5, 100, out, &len), TC_ETOOLARGE);
    assert_int_equal(decode("ffffffff\r\n", 10, 0, 5, 100, out, &len), TC_ETOOLARGE);
    assert_int_equal(decode("3\r\nabc\r\n3\r\n", 11, 0, 5, 100, out, &len), TC_ETOOLARGE);
    assert_int_equal(decode("5\r\nabcde\r\n0\r\n\r\n", 15, 0, 5, 100, out, &len), 1);
}

static void chunked_extensions_and_trailers_are_bounded_together(void **state) {
    (void)state;
    char out[4096];
    size_t len;
    const char *text = "1;aaaa\r\nx\r\n0\r\nb: cc\r\n\r\n"; /* 4 bytes of extension, 5 of trailer */
    assert_int_equal(decode(text, strlen(text), 0, 100, 9, out, &len), 1);
    assert_int_equal(decode(text, strlen(text), 0, 100, 8, out, &len), TC_ETOOLARGE);
}

static void chunked_bytes_after_the_end_stay(void **state) {
    (void)state;
    struct chunked c;
    char buf[] = "1\r\na\r\n0\r\n\r\nGET /";
    size_t taken, written;
    chunked_init(&c, 10);
    assert_int_equal(chunked_feed(&c, buf, sizeof(buf) - 1, &taken, buf, 10, &written), 1);
    assert_int_equal(written, 1);
    assert_string_equal(buf + taken, "GET /");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunked_body_cut_anywhere_decodes_the_same),
        cmocka_unit_test(chunked_body_unfinished_wants_more),
        cmocka_unit_test(chunked_size_malformed_is_refused),
        cmocka_unit_test(chunked_size_beyond_room_is_refused_when_announced),
        cmocka_unit_test(chunked_extensions_and_trailers_are_bounded_together),
        cmocka_unit_test(chunked_bytes_after_the_end_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
