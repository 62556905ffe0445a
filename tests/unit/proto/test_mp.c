/* The MessagePack cursor, against hand-made bytes and against msgpack-c's packer and unpacker. */
#include "wire/mp.h"

#include "tokencast/error.h"
#include "wire_support.h"

#include <float.h>
#include <math.h>
#include <msgpack.h>
#include <stdlib.h>

static struct tc_mp cursor(const void *p, size_t n) {
    return (struct tc_mp){p, (const unsigned char *)p + n};
}

static int skip_hex(const char *hex, unsigned depth) {
    struct tc_buf b;
    tc_buf_init(&b, 0);
    wire_hex(&b, hex);
    struct tc_mp m = cursor(b.data, b.len);
    int err = tc_mp_skip(&m, depth);
    if (err == 0 && m.p != m.end)
        err = 1;
    tc_buf_fini(&b);
    return err;
}

/* JSON of a value, or its error code as text. */
static void assert_json(const char *hex, const char *want) {
    struct tc_buf b, json;
    tc_buf_init(&b, 0);
    tc_buf_init(&json, 0);
    wire_hex(&b, hex);
    struct tc_mp m = cursor(b.data, b.len);
    int err = tc_mp_to_json(&m, &json, 4);
    if (err < 0) {
        tc_buf_reset(&json);
        tc_buf_puts(&json, tc_strerror(err));
    }
    assert_buf(&json, want);
    tc_buf_fini(&b);
    tc_buf_fini(&json);
}

static void mp_integers_of_every_width_are_read(void **state) {
    static const uint64_t us[] = {0,     1,     127,        128,         255,       256,
                                  65535, 65536, 0xffffffff, 0x100000000, INT64_MAX, UINT64_MAX};
    static const int64_t is[] = {-1,       -32, -33, -128, -129, -32768, -32769, INT32_MIN, (int64_t)INT32_MIN - 1,
                                 INT64_MIN};
    msgpack_sbuffer sb;
    msgpack_packer pk;
    struct tc_mp_value v;
    (void)state;
    msgpack_sbuffer_init(&sb);
    msgpack_packer_init(&pk, &sb, msgpack_sbuffer_write);
    for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++)
        msgpack_pack_uint64(&pk, us[i]);
    for (size_t i = 0; i < sizeof(is) / sizeof(is[0]); i++)
        msgpack_pack_int64(&pk, is[i]);
    struct tc_mp m = cursor(sb.data, sb.size);
    for (size_t i = 0; i < sizeof(us) / sizeof(us[0]); i++) {
        assert_int_equal(tc_mp_next(&m, &v), 0);
        assert_int_equal(v.type, TC_MP_UINT);
        assert_true(v.v.u == us[i]);
    }
    for (size_t i = 0; i < sizeof(is) / sizeof(is[0]); i++) {
        assert_int_equal(tc_mp_next(&m, &v), 0);
        assert_int_equal(v.type, TC_MP_INT);
        assert_true(v.v.i == is[i]);
    }
    assert_true(m.p == m.end);
    msgpack_sbuffer_destroy(&sb);
}

static void mp_signed_format_with_positive_value_is_uint(void **state) {
    struct tc_mp m = cursor("\xd0\x05\xd3\x7f\xff\xff\xff\xff\xff\xff\xff", 11);
    struct tc_mp_value v;
    (void)state;
    assert_int_equal(tc_mp_next(&m, &v), 0);
    assert_true(v.type == TC_MP_UINT && v.v.u == 5);
    assert_int_equal(tc_mp_next(&m, &v), 0);
    assert_true(v.type == TC_MP_UINT && v.v.u == INT64_MAX);
}

static void mp_floats_of_both_widths_are_read(void **state) {
    struct tc_mp m = cursor("\xca\x3f\xc0\x00\x00\xcb\xbf\xd0\x00\x00\x00\x00\x00\x00", 14);
    struct tc_mp_value v;
    (void)state;
    assert_int_equal(tc_mp_next(&m, &v), 0);
    assert_true(v.type == TC_MP_FLOAT && v.v.d == 1.5);
    assert_int_equal(tc_mp_next(&m, &v), 0);
    assert_true(v.type == TC_MP_FLOAT && v.v.d == -0.25);
}

static void mp_cut_anywhere_is_refused(void **state) {
    /* One of each: map, array, str 8/16/32, bin, ext, fixext, floats, ints. */
    static const char hex[] =
        "dc 00 0d 81 a1 61 c0 92 01 02 d9 02 68 69 da 00 01 78 db 00 00 00 01 79 c4 01 ff c7 01 05 aa "
        "d4 01 bb ca 00 00 00 00 cb 00 00 00 00 00 00 00 00 cf 00 00 00 00 00 00 00 01 d1 ff 00 c3";
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    wire_hex(&b, hex);
    for (size_t n = 0; n <= b.len; n++) {
        /* A copy of exactly n bytes, so that a sanitizer sees a read past them. */
        unsigned char *copy = malloc(n ? n : 1);
        memcpy(copy, b.data, n);
        struct tc_mp m = cursor(copy, n);
        assert_int_equal(tc_mp_skip(&m, 4), n == b.len ? 0 : TC_ESYNTAX);
        free(copy);
    }
    tc_buf_fini(&b);
}

static void mp_claimed_count_beyond_the_bytes_is_refused(void **state) {
    struct tc_mp array = cursor("\x93\x01\x02", 3), map = cursor("\x82\x01\x02\x03", 4);
    struct tc_mp_value v;
    (void)state;
    assert_int_equal(tc_mp_next(&array, &v), TC_ESYNTAX);
    assert_int_equal(tc_mp_next(&map, &v), TC_ESYNTAX);
    assert_int_equal(skip_hex("dd ff ff ff ff", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("df 7f ff ff ff c0 c0", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("db ff ff ff ff 61", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("c6 80 00 00 00", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("82 a1 61 c0", 4), TC_ESYNTAX);
}

static void mp_reserved_byte_is_refused(void **state) {
    (void)state;
    assert_int_equal(skip_hex("c1", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("91 c1", 4), TC_ESYNTAX);
}

static void mp_too_deep_is_refused_exactly(void **state) {
    (void)state;
    assert_int_equal(skip_hex("91 91 91 c0", 3), 0);
    assert_int_equal(skip_hex("91 91 91 c0", 2), TC_ETOOLARGE);
    assert_int_equal(skip_hex("91 91 90", 2), TC_ETOOLARGE);
    assert_int_equal(skip_hex("01", 0), 0);
    assert_int_equal(skip_hex("90", 0), TC_ETOOLARGE);
    unsigned char deep[10000];
    memset(deep, 0x91, sizeof(deep));
    struct tc_mp m = cursor(deep, sizeof(deep));
    assert_int_equal(tc_mp_skip(&m, 1000000), TC_ETOOLARGE);
}

static void mp_container_as_key_and_bad_utf8_are_refused(void **state) {
    (void)state;
    assert_int_equal(skip_hex("81 90 c0", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("81 a1 61 90", 4), 0);
    assert_int_equal(skip_hex("a1 ff", 4), TC_ESYNTAX);
    assert_int_equal(skip_hex("91 81 01 a2 c3 28", 4), TC_ESYNTAX);
}

static void mp_skip_passes_one_value_only(void **state) {
    struct tc_mp m = cursor("\x92\x01\x02\x03", 4);
    (void)state;
    assert_int_equal(tc_mp_skip(&m, 4), 0);
    assert_int_equal(*m.p, 3);
}

static void mp_json_of_each_type(void **state) {
    (void)state;
    assert_json("c0", "null");
    assert_json("c2", "false");
    assert_json("c3", "true");
    assert_json("cf ff ff ff ff ff ff ff ff", "18446744073709551615");
    assert_json("d3 80 00 00 00 00 00 00 00", "-9223372036854775808");
    assert_json("cb 3f b9 99 99 99 99 99 9a", "0.1");
    assert_json("cb 7f f0 00 00 00 00 00 00", "null");
    assert_json("cb 7f f8 00 00 00 00 00 00", "null");
    assert_json("a3 61 22 62", "\"a\\\"b\"");
    assert_json("c4 03 fb ff fe", "\"-__-\"");
    assert_json("d4 01 00", "null");
    assert_json("90", "[]");
    assert_json("80", "{}");
    assert_json("93 90 91 01 80", "[[],[1],{}]");
    assert_json("82 a1 61 92 01 02 a1 62 81 a1 63 c0", "{\"a\":[1,2],\"b\":{\"c\":null}}");
    assert_json("84 05 01 c3 02 c0 03 c4 01 00 04", "{\"5\":1,\"true\":2,\"null\":3,\"AA\":4}");
    assert_json("81 90 c0", "malformed input");
    assert_json("91 91 91 91 91 c0", "larger than the limit");
}

/* A msgpack-c object and our walk over the same bytes agree. */
static void same_value(struct tc_mp *m, const msgpack_object *o) {
    struct tc_mp_value v;
    assert_int_equal(tc_mp_next(m, &v), 0);
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        assert_int_equal(v.type, TC_MP_NIL);
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        assert_true(v.type == TC_MP_BOOL && v.v.b == o->via.boolean);
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        assert_true(v.type == TC_MP_UINT && v.v.u == o->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        assert_true(v.type == TC_MP_INT && v.v.i == o->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        assert_true(v.type == TC_MP_FLOAT && (v.v.d == o->via.f64 || (isnan(v.v.d) && isnan(o->via.f64))));
        break;
    case MSGPACK_OBJECT_STR:
        assert_true(v.type == TC_MP_STR && tc_str_eq(v.s, (struct tc_str){o->via.str.ptr, o->via.str.size}));
        break;
    case MSGPACK_OBJECT_BIN:
        assert_true(v.type == TC_MP_BIN && tc_str_eq(v.s, (struct tc_str){o->via.bin.ptr, o->via.bin.size}));
        break;
    case MSGPACK_OBJECT_EXT:
        assert_true(v.type == TC_MP_EXT && tc_str_eq(v.s, (struct tc_str){o->via.ext.ptr, o->via.ext.size}));
        break;
    case MSGPACK_OBJECT_ARRAY:
        assert_true(v.type == TC_MP_ARRAY && v.v.count == o->via.array.size);
        for (uint32_t i = 0; i < o->via.array.size; i++)
            same_value(m, &o->via.array.ptr[i]);
        break;
    case MSGPACK_OBJECT_MAP:
        assert_true(v.type == TC_MP_MAP && v.v.count == o->via.map.size);
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            same_value(m, &o->via.map.ptr[i].key);
            same_value(m, &o->via.map.ptr[i].val);
        }
        break;
    }
}

/* Random bytes, mostly small containers at the front: what msgpack-c unpacks, the cursor reads the same way. */
static void mp_random_bytes_are_read_as_msgpack_c_reads_them(void **state) {
    unsigned whole = 0;
    uint32_t x = 12345;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        unsigned char bytes[24];
        for (size_t i = 0; i < sizeof(bytes); i++) {
            x = x * 1664525 + 1013904223;
            bytes[i] = (unsigned char)(x >> 24);
        }
        if (round % 2 == 0)
            bytes[0] = (unsigned char)(0x80 | (bytes[0] & 0x13));
        /* Claimed sizes in the 32-bit formats make msgpack-c allocate before it looks: the reason for the cursor. */
        for (size_t i = 0; i < sizeof(bytes); i++)
            if (bytes[i] == 0xdd || bytes[i] == 0xdf)
                bytes[i] = 0xc0;
        msgpack_unpacked u;
        msgpack_unpacked_init(&u);
        size_t off = 0;
        if (msgpack_unpack_next(&u, (const char *)bytes, sizeof(bytes), &off) == MSGPACK_UNPACK_SUCCESS) {
            struct tc_mp m = cursor(bytes, sizeof(bytes));
            same_value(&m, &u.data);
            assert_int_equal((size_t)(m.p - bytes), off);
            whole++;
        }
        msgpack_unpacked_destroy(&u);
    }
    assert_true(whole > 5000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mp_integers_of_every_width_are_read),
        cmocka_unit_test(mp_signed_format_with_positive_value_is_uint),
        cmocka_unit_test(mp_floats_of_both_widths_are_read),
        cmocka_unit_test(mp_cut_anywhere_is_refused),
        cmocka_unit_test(mp_claimed_count_beyond_the_bytes_is_refused),
        cmocka_unit_test(mp_reserved_byte_is_refused),
        cmocka_unit_test(mp_too_deep_is_refused_exactly),
        cmocka_unit_test(mp_container_as_key_and_bad_utf8_are_refused),
        cmocka_unit_test(mp_skip_passes_one_value_only),
        cmocka_unit_test(mp_json_of_each_type),
        cmocka_unit_test(mp_random_bytes_are_read_as_msgpack_c_reads_them),
    };
    return cmocka_run_group_tests_name("mp", tests, NULL, NULL);
}
