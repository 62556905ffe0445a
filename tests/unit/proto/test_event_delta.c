/* Deltas that are read and written without the tables: the same as with them, and only those that say no more than the
 * struct. */
#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/pack.h"
#include "wire_support.h"

#define TYPE   "\244type\245delta" /* octal, which ends after three digits */
#define TEXT   "\xa4text\xa2hi"
#define OFFSET "\xa6offset\x07"

static const struct {
    struct tc_str bytes;
    const char *json; /* NULL: refused */
    bool as_encoded;
} maps[] = {
    {TC_STR("\x83" TYPE TEXT OFFSET), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7}", true},
    {TC_STR("\x83" TYPE TEXT "\xa6offset\xcd\x01\x00"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":256}", true},
    {TC_STR("\x83" TYPE TEXT "\xa6offset\xcf\x80\0\0\0\0\0\0\0"),
     "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":9223372036854775808}", true},
    {TC_STR("\x83" TYPE "\xa4text\xd9\x03\"\n\xc2" OFFSET), NULL, false},
    {TC_STR("\x83" TYPE "\xa4text\xda\0\x05\"\n\xe2\x80\xa8" OFFSET),
     "{\"type\":\"delta\",\"text\":\"\\\"\\n\\u2028\",\"offset\":7}", true},
    {TC_STR("\x83" TYPE "\xa4text\xa0" OFFSET), "{\"type\":\"delta\",\"text\":\"\",\"offset\":7}", true},
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa4kind\xa9reasoning"),
     "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"kind\":\"reasoning\"}", true},
    {TC_STR("\x86" TYPE TEXT OFFSET "\xa4kind\xa2\"x\xa5index\x03\242at\xce\0\0\0\x05"),
     "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"kind\":\"\\\"x\",\"index\":3,\"at\":5}", true},
    {TC_STR("\x84" TYPE TEXT OFFSET "\242at\xcf\x7f\xff\xff\xff\xff\xff\xff\xff"),
     "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"at\":9223372036854775807}", true},

    /* what the struct cannot tell from what is absent, or has in no field */
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa4kind\xa4text"),
     "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"kind\":\"text\"}", false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa4kind\xa0"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"kind\":\"\"}",
     false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa5index\0"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"index\":0}",
     false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\242at\0"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"at\":0}", false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\242at\xff"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"at\":-1}",
     false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa1x\x01"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"x\":1}", false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa6offset\x09"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7}", false},
    {TC_STR("\x84" TYPE TEXT OFFSET "\xa4kind\xc0"), "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7}", false},
    {TC_STR("\x85" TYPE TEXT OFFSET "\242at\x05\xa5index\x03"),
     "{\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"at\":5,\"index\":3}", false},
    {TC_STR("\x83" TYPE OFFSET TEXT), "{\"type\":\"delta\",\"offset\":7,\"text\":\"hi\"}", false},

    /* numbers that would not fit, more or less than the map says, another type */
    {TC_STR("\x84" TYPE TEXT OFFSET "\242at\xcf\x80\0\0\0\0\0\0\0"), NULL, false},
    {TC_STR("\x83" TYPE TEXT "\xa6offset\xff"), NULL, false},
    {TC_STR("\x83" TYPE TEXT OFFSET "\x01"), NULL, false},
    {TC_STR("\x84" TYPE TEXT OFFSET), NULL, false},
    {TC_STR("\x82" TYPE TEXT), NULL, false},
    {TC_STR("\x82" TYPE TEXT OFFSET), NULL, false},
    {TC_STR("\x83\xa4type\245"
            "deltb" TEXT OFFSET),
     "{\"type\":\"deltb\",\"text\":\"hi\",\"offset\":7}", false},
};

static void delta_is_written_by_its_struct_where_that_says_it_all(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof(maps) / sizeof(maps[0]); i++) {
        struct tc_event ev;
        struct tc_buf json;
        int err = tc_event_decode(maps[i].bytes.p, maps[i].bytes.n, &ev);
        if (err != (maps[i].json ? 0 : TC_ESYNTAX) || (err == 0 && ev.as_encoded != maps[i].as_encoded))
            fail_msg("map %zu: %d, as encoded: %d", i, err, err == 0 && ev.as_encoded);
        if (err != 0)
            continue;
        tc_buf_init(&json, 0);
        for (int quick = ev.as_encoded; quick >= 0; quick--) { /* as it is, and by the tables */
            ev.as_encoded = quick;
            tc_buf_reset(&json);
            assert_int_equal(tc_event_to_json(&json, &ev, maps[i].bytes.p, maps[i].bytes.n, NULL), 0);
            assert_buf(&json, maps[i].json);
        }
        tc_buf_fini(&json);
    }
}

static void pack_uint(msgpack_packer *pk, struct tc_str name, uint64_t value) {
    pack_str(pk, name);
    msgpack_pack_uint64(pk, value);
}

/* What msgpack-c makes of the same fields. */
static void pack_delta(struct tc_buf *out, const struct tc_event *ev) {
    msgpack_packer pk;
    pack_init(&pk, out);
    msgpack_pack_map(&pk, 3u + (ev->kind != TC_KIND_TEXT) + (ev->index != 0) + (ev->at != 0));
    pack_str(&pk, TC_STR("type"));
    pack_str(&pk, TC_STR("delta"));
    pack_str(&pk, TC_STR("text"));
    pack_str(&pk, ev->text);
    pack_uint(&pk, TC_STR("offset"), ev->offset);
    if (ev->kind != TC_KIND_TEXT) {
        pack_str(&pk, TC_STR("kind"));
        pack_str(&pk, ev->kind == TC_KIND_OTHER ? ev->kind_name : TC_STR("reasoning"));
    }
    if (ev->index != 0)
        pack_uint(&pk, TC_STR("index"), ev->index);
    if (ev->at != 0)
        pack_uint(&pk, TC_STR("at"), (uint64_t)ev->at);
}

static void assert_encoded(const struct tc_event *ev) {
    struct tc_buf got, want;
    tc_buf_init(&got, 0);
    tc_buf_init(&want, 0);
    tc_event_encode(&got, ev);
    pack_delta(&want, ev);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.data, want.data, want.len);
    tc_buf_fini(&got);
    tc_buf_fini(&want);
}

/* On both sides of every number at which a head grows. */
static void delta_is_encoded_as_msgpack_c_does(void **state) {
    static const uint64_t edges[] = {0, 0x80, 0x100, 0x10000, 0x100000000, INT64_MAX};
    static char text[0x10001];
    (void)state;
    memset(text, 'x', sizeof(text));
    for (size_t i = 0; i < 3 * sizeof(edges) / sizeof(edges[0]); i++) {
        uint64_t n = edges[i / 3] + i % 3 - (i < 3 ? 0 : 1);
        n = n > INT64_MAX ? INT64_MAX : n;
        struct tc_event ev = {.type = TC_EV_DELTA, .offset = n, .text = TC_STR("hi")};
        assert_encoded(&ev);
        ev.at = (int64_t)n;
        assert_encoded(&ev);
        ev.index = n;
        ev.kind = TC_KIND_REASONING;
        assert_encoded(&ev);
    }
    static const size_t lengths[] = {0, 31, 32, 255, 256, 65535, 65536};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct tc_event ev = {.type = TC_EV_DELTA, .text = {text, lengths[i]}};
        assert_encoded(&ev);
        ev.kind = TC_KIND_OTHER;
        ev.kind_name = ev.text;
        assert_encoded(&ev);
    }
    struct tc_event ev = {.type = TC_EV_DELTA, .offset = UINT64_MAX, .text = TC_STR("hi")};
    assert_encoded(&ev);
}

static void delta_before_1970_comes_back(void **state) {
    static const int64_t times[] = {-1, -5000000000, INT64_MIN};
    (void)state;
    for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
        struct tc_event ev = {.type = TC_EV_DELTA, .at = times[i], .text = TC_STR("hi")};
        struct tc_buf b;
        tc_buf_init(&b, 0);
        tc_event_encode(&b, &ev);
        ev.at = 0;
        assert_int_equal(tc_event_decode(b.data, b.len, &ev), 0);
        assert_true(ev.at == times[i]);
        tc_buf_fini(&b);
    }
}

static void delta_cut_anywhere_is_refused(void **state) {
    (void)state;
    struct tc_event ev = {.type = TC_EV_DELTA,
                          .text = TC_STR("text \xc3\xa4"),
                          .offset = 70000,
                          .kind = TC_KIND_REASONING,
                          .index = 300,
                          .at = 1790000000123456};
    struct tc_buf b;
    tc_buf_init(&b, 0);
    tc_event_encode(&b, &ev);
    assert_int_equal(tc_event_decode(b.data, b.len, &ev), 0);
    assert_true(ev.as_encoded);
    wire_assert_cut_is_refused(&b);
    tc_buf_fini(&b);
}

/* With a bound that each part of the object meets once. */
static void delta_json_into_full_buffer_is_rolled_back(void **state) {
    (void)state;
    struct tc_event ev;
    struct tc_str bytes = TC_STR("\x86" TYPE TEXT OFFSET "\xa4kind\xa1x\xa5index\x03\242at\x05");
    assert_int_equal(tc_event_decode(bytes.p, bytes.n, &ev), 0);
    size_t whole =
        6 + strlen("{\"a\":1,\"type\":\"delta\",\"text\":\"hi\",\"offset\":7,\"kind\":\"x\",\"index\":3,\"at\":5}");
    for (size_t max = 6; max <= whole; max++) {
        struct tc_buf json;
        tc_buf_init(&json, max);
        tc_buf_puts(&json, "before");
        int err = tc_event_to_json(&json, &ev, bytes.p, bytes.n, "\"a\":1,");
        assert_int_equal(err, max < whole ? TC_ENOMEM : 0);
        assert_int_equal(json.len, max < whole ? 6 : whole);
        tc_buf_fini(&json);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(delta_is_written_by_its_struct_where_that_says_it_all),
        cmocka_unit_test(delta_is_encoded_as_msgpack_c_does),
        cmocka_unit_test(delta_before_1970_comes_back),
        cmocka_unit_test(delta_cut_anywhere_is_refused),
        cmocka_unit_test(delta_json_into_full_buffer_is_rolled_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
