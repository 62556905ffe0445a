/* Clocks, random bytes, jitter, and what is built on random bytes. */
#include "base/clock.h"

#include "base/base64.h"
#include "tokencast/error.h"
#include "wire_support.h"

static void clock_now_is_after_this_was_written(void **state) {
    (void)state;
    assert_true(tc_now_us() > INT64_C(1700000000000000));
}

static void clock_mono_never_goes_back(void **state) {
    (void)state;
    uint64_t last = tc_mono_us();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = tc_mono_us();
        assert_true(now >= last);
        last = now;
    }
}

static void random_fills_every_byte(void **state) {
    unsigned char bytes[300], seen[300] = {0};
    (void)state;
    for (int round = 0; round < 64; round++) {
        tc_random(bytes, sizeof(bytes));
        for (size_t i = 0; i < sizeof(bytes); i++)
            seen[i] |= bytes[i];
    }
    for (size_t i = 0; i < sizeof(seen); i++)
        assert_int_equal(seen[i], 0xff);
}

static void jitter_stays_within_its_percent(void **state) {
    uint64_t low = UINT64_MAX, high = 0;
    (void)state;
    for (int i = 0; i < 2000; i++) {
        uint64_t v = tc_jitter(1000, 20);
        low = v < low ? v : low;
        high = v > high ? v : high;
    }
    assert_in_range(low, 800, 850);
    assert_in_range(high, 1150, 1200);
}

static void jitter_at_the_ends_is_sane(void **state) {
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(tc_jitter(1000, 0), 1000);
        assert_int_equal(tc_jitter(0, 50), 1);
        assert_in_range(tc_jitter(1, 100), 1, 2);
        assert_in_range(tc_jitter(10, 5000), 1, 20);
        assert_true(tc_jitter(UINT64_MAX, 100) >= UINT64_MAX / 2);
    }
}

static void base64_matches_rfc_4648(void **state) {
    static const char *const want[] = {"", "Zg", "Zm8", "Zm9v", "Zm9vYg", "Zm9vYmE", "Zm9vYmFy"};
    char out[16];
    (void)state;
    for (size_t n = 0; n <= 6; n++) {
        size_t len = tc_base64url(out, "foobar", n);
        assert_int_equal(len, TC_BASE64_LEN(n));
        assert_str(((struct tc_str){out, len}), want[n]);
    }
    assert_int_equal(tc_base64url(out, "\xfb\xff\xfe", 3), 4);
    assert_str(((struct tc_str){out, 4}), "-__-");
}

static void strerror_has_a_text_for_each_code(void **state) {
    (void)state;
    assert_string_equal(tc_strerror(0), "success");
    assert_string_equal(tc_strerror(TC_EFENCED), "fenced: a later attempt owns this generation");
    assert_string_equal(tc_strerror(-999), "unknown error");
    assert_string_equal(tc_strerror(1), "unknown error");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clock_now_is_after_this_was_written),
        cmocka_unit_test(clock_mono_never_goes_back),
        cmocka_unit_test(random_fills_every_byte),
        cmocka_unit_test(jitter_stays_within_its_percent),
        cmocka_unit_test(jitter_at_the_ends_is_sane),
        cmocka_unit_test(base64_matches_rfc_4648),
        cmocka_unit_test(strerror_has_a_text_for_each_code),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
