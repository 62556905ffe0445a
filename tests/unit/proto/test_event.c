/* Events from foreign bytes, and back. The golden files (test_golden.c) hold the exact bytes of every type. */
#include "tokencast/event.h"

#include "tokencast/error.h"
#include "wire_support.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdlib.h>

struct maker {
    struct tc_buf b;
    msgpack_packer pk;
};

static int write_buf(void *data, const char *p, size_t n) {
    tc_buf_append(data, p, n);
    return 0;
}

static void maker_init(struct maker *m, size_t pairs) {
    tc_buf_init(&m->b, 0);
    msgpack_packer_init(&m->pk, &m->b, write_buf);
    msgpack_pack_map(&m->pk, pairs);
}

static void put(struct maker *m, const char *s) {
    msgpack_pack_str(&m->pk, strlen(s));
    msgpack_pack_str_body(&m->pk, s, strlen(s));
}

static void put_pair(struct maker *m, const char *key, const char *value) {
    put(m, key);
    put(m, value);
}

static void put_uint(struct maker *m, const char *key, uint64_t value) {
    put(m, key);
    msgpack_pack_uint64(&m->pk, value);
}

/* Decodes and frees the bytes: only the code counts. JSON is made of what is taken, and of nothing else by half. */
static int verdict(struct maker *m) {
    struct tc_event ev;
    struct tc_buf json;
    int err = tc_event_decode(m->b.data, m->b.len, &ev);
    tc_buf_init(&json, 0);
    tc_buf_puts(&json, "before");
    int json_err = tc_event_to_json(&json, &ev, m->b.data, m->b.len, NULL);
    if (err == 0)
        assert_int_equal(json_err, 0);
    if (json_err != 0)
        assert_buf(&json, "before");
    tc_buf_fini(&json);
    tc_buf_fini(&m->b);
    return err;
}

static void assert_event_json(struct maker *m, const char *extra, const char *want) {
    struct tc_buf json;
    struct tc_event ev;
    tc_buf_init(&json, 0);
    assert_int_equal(tc_event_decode(m->b.data, m->b.len, &ev), 0);
    assert_int_equal(tc_event_to_json(&json, &ev, m->b.data, m->b.len, extra), 0);
    assert_buf(&json, want);
    tc_buf_fini(&json);
}

static void event_delta_round_trip_keeps_every_field(void **state) {
    struct tc_event ev = {.type = TC_EV_DELTA,
                          .text = TC_STR("\xc3\xa4 quick"),
                          .offset = 70000,
                          .kind = TC_KIND_REASONING,
                          .index = 3,
                          .at = 1790000000123456},
                    back;
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_event_encode(&b, &ev);
    assert_int_equal(tc_event_decode(b.data, b.len, &back), 0);
    assert_int_equal(back.type, TC_EV_DELTA);
    assert_str(back.type_name, "delta");
    assert_str(back.text, "\xc3\xa4 quick");
    assert_true(back.offset == 70000 && back.kind == TC_KIND_REASONING && back.index == 3);
    assert_int_equal(back.kind_name.n, 0);
    assert_true(back.at == 1790000000123456);
    tc_buf_fini(&b);
}

static void event_delta_of_another_kind_keeps_its_name(void **state) {
    struct tc_event ev = {.type = TC_EV_DELTA, .kind = TC_KIND_OTHER, .kind_name = TC_STR("audio")}, back;
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_event_encode(&b, &ev);
    assert_int_equal(tc_event_decode(b.data, b.len, &back), 0);
    assert_int_equal(back.kind, TC_KIND_OTHER);
    assert_str(back.kind_name, "audio");
    tc_buf_fini(&b);
}

static void event_attempt_with_full_kept_round_trips(void **state) {
    struct tc_event ev = {.type = TC_EV_ATTEMPT,
                          .attempt = 37,
                          .try_no = 2,
                          .reason = TC_STR("lease"),
                          .mode = TC_STR("continue"),
                          .from = {37, 44},
                          .kept_count = TC_KEPT_MAX},
                    back;
    struct tc_buf b;
    (void)state;
    for (size_t i = 0; i < TC_KEPT_MAX; i++)
        ev.kept[i] = (struct tc_kept){TC_STR("text"), i, i * 1000};
    tc_buf_init(&b, 0);
    tc_event_encode(&b, &ev);
    assert_int_equal(tc_event_decode(b.data, b.len, &back), 0);
    assert_int_equal(back.kept_count, TC_KEPT_MAX);
    assert_true(back.from.attempt == 37 && back.from.seq == 44 && back.try_no == 2);
    for (size_t i = 0; i < TC_KEPT_MAX; i++) {
        assert_str(back.kept[i].kind, "text");
        assert_true(back.kept[i].index == i && back.kept[i].length == i * 1000);
    }
    tc_buf_fini(&b);
}

static void event_done_tells_zero_ttft_from_none(void **state) {
    struct tc_event ev = {.type = TC_EV_DONE, .reason = TC_STR("stop"), .has_ttft = true}, back;
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_event_encode(&b, &ev);
    assert_int_equal(tc_event_decode(b.data, b.len, &back), 0);
    assert_true(back.has_ttft);
    tc_buf_reset(&b);
    ev.has_ttft = false;
    tc_event_encode(&b, &ev);
    assert_int_equal(tc_event_decode(b.data, b.len, &back), 0);
    assert_false(back.has_ttft);
    tc_buf_fini(&b);
}

static void event_encode_into_full_buffer_fails_quietly(void **state) {
    struct tc_event ev = {.type = TC_EV_DELTA, .text = TC_STR("hello")};
    struct tc_buf b;
    (void)state;
    for (size_t max = 1; max < 40; max++) {
        tc_buf_init(&b, max);
        tc_event_encode(&b, &ev);
        assert_true(b.len <= max);
        assert_int_equal(tc_buf_ok(&b), max >= 31);
        tc_buf_fini(&b);
    }
    b = (struct tc_buf){.failed = true};
    tc_event_encode(&b, &ev);
    assert_int_equal(b.len, 0);
}

static void event_with_type_last_is_decoded(void **state) {
    struct maker m;
    struct tc_event ev;
    (void)state;
    maker_init(&m, 4);
    put_uint(&m, "offset", 9);
    put_pair(&m, "text", "x");
    put_uint(&m, "at", 5);
    put_pair(&m, "type", "delta");
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    assert_true(ev.type == TC_EV_DELTA && ev.offset == 9 && ev.at == 5);
    assert_event_json(&m, NULL, "{\"offset\":9,\"text\":\"x\",\"at\":5,\"type\":\"delta\"}");
    tc_buf_fini(&m.b);
}

static void event_of_unknown_type_and_fields_is_carried_through(void **state) {
    struct maker m;
    struct tc_event ev;
    (void)state;
    maker_init(&m, 4);
    put_pair(&m, "type", "vendor.thing");
    put(&m, "text");
    msgpack_pack_array(&m.pk, 1);
    msgpack_pack_nil(&m.pk);
    put(&m, "offset");
    msgpack_pack_nil(&m.pk);
    put_uint(&m, "at", 5);
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    assert_int_equal(ev.type, TC_EV_UNKNOWN);
    assert_str(ev.type_name, "vendor.thing");
    assert_event_json(&m, "\"generation\":\"g\",",
                      "{\"generation\":\"g\",\"type\":\"vendor.thing\",\"text\":[null],\"offset\":null,\"at\":5}");
    tc_buf_fini(&m.b);
}

static void event_field_of_another_type_is_not_checked(void **state) {
    struct maker m;
    (void)state;
    maker_init(&m, 4);
    put_pair(&m, "type", "delta");
    put_pair(&m, "text", "x");
    put_uint(&m, "offset", 0);
    put_uint(&m, "model", 4);
    assert_int_equal(verdict(&m), 0);
}

static void event_known_field_of_wrong_type_is_refused(void **state) {
    static const char *const hex[] = {
        /* {type: delta, text: 1, offset: 0} */
        "83 a4 74 79 70 65 a5 64 65 6c 74 61 a4 74 65 78 74 01 a6 6f 66 66 73 65 74 00",
        /* text as bin */
        "83 a4 74 79 70 65 a5 64 65 6c 74 61 a4 74 65 78 74 c4 01 61 a6 6f 66 66 73 65 74 00",
        /* text nil: required */
        "83 a4 74 79 70 65 a5 64 65 6c 74 61 a4 74 65 78 74 c0 a6 6f 66 66 73 65 74 00",
        /* offset -1, offset "0", offset 0.5 */
        "83 a4 74 79 70 65 a5 64 65 6c 74 61 a4 74 65 78 74 a0 a6 6f 66 66 73 65 74 ff",
        "83 a4 74 79 70 65 a5 64 65 6c 74 61 a4 74 65 78 74 a0 a6 6f 66 66 73 65 74 a1 30",
        "83 a4 74 79 70 65 a5 64 65 6c 74 61 a4 74 65 78 74 a0 a6 6f 66 66 73 65 74 ca 3f 00 00 00",
        /* {type: done, usage: []} */
        "82 a4 74 79 70 65 a4 64 6f 6e 65 a5 75 73 61 67 65 90",
        /* {type: tool_call, done: 1} */
        "82 a4 74 79 70 65 a9 74 6f 6f 6c 5f 63 61 6c 6c a4 64 6f 6e 65 01",
        /* {type: attempt, from: "x"}, {type: attempt, kept: [1]}, {type: attempt, kept: {}} */
        "82 a4 74 79 70 65 a7 61 74 74 65 6d 70 74 a4 66 72 6f 6d a1 78",
        "82 a4 74 79 70 65 a7 61 74 74 65 6d 70 74 a4 6b 65 70 74 91 01",
        "82 a4 74 79 70 65 a7 61 74 74 65 6d 70 74 a4 6b 65 70 74 80",
        /* {type: note, at: "x"} */
        "82 a4 74 79 70 65 a4 6e 6f 74 65 a2 61 74 a1 78",
    };
    (void)state;
    for (size_t i = 0; i < sizeof(hex) / sizeof(hex[0]); i++) {
        struct maker m;
        tc_buf_init(&m.b, 0);
        wire_hex(&m.b, hex[i]);
        assert_int_equal(verdict(&m), TC_ESYNTAX);
    }
}

static void event_that_is_not_one_map_with_string_keys_is_refused(void **state) {
    static const char *const hex[] = {"c0",
                                      "90",
                                      "80",
                                      "a4 74 79 70 65",
                                      "81 01 02",
                                      "81 a4 74 79 70 65 a4 64 6f 6e 65 c0",    /* a byte behind it */
                                      "82 a4 74 79 70 65 a4 64 6f 6e 65 01 c0", /* integer key behind type */
                                      "82 01 c0 a4 74 79 70 65 a4 64 6f 6e 65", /* and before it */
                                      "81 a4 74 79 70 65 01",
                                      "81 a4 74 79 70 65 a0",
                                      "81 a1 61 a1 62",
                                      "82 a4 74 79 70 65 a4 64 6f 6e 65 a1 ff c0",
                                      "c1"};
    struct tc_event ev;
    (void)state;
    for (size_t i = 0; i < sizeof(hex) / sizeof(hex[0]); i++) {
        struct maker m;
        tc_buf_init(&m.b, 0);
        wire_hex(&m.b, hex[i]);
        assert_int_equal(verdict(&m), TC_ESYNTAX);
    }
    assert_int_equal(tc_event_decode("", 0, &ev), TC_ESYNTAX);
}

static void event_type_that_could_break_a_line_is_refused(void **state) {
    static const char *const bad[] = {
        "a\nb", "a\r", "a b", "\xc3\xa4", "\x7f", "12345678901234567890123456789012345678901234567890123456789012345"};
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct maker m;
        maker_init(&m, 1);
        put_pair(&m, "type", bad[i]);
        assert_int_equal(verdict(&m), TC_ESYNTAX);
    }
}

static void event_delta_without_text_or_offset_is_refused(void **state) {
    struct maker m;
    (void)state;
    maker_init(&m, 2);
    put_pair(&m, "type", "delta");
    put_pair(&m, "text", "x");
    assert_int_equal(verdict(&m), TC_ESYNTAX);
    maker_init(&m, 2);
    put_pair(&m, "type", "delta");
    put_uint(&m, "offset", 1);
    assert_int_equal(verdict(&m), TC_ESYNTAX);
}

static void event_nil_field_counts_as_absent_and_stays_out_of_json(void **state) {
    struct maker m;
    struct tc_event ev;
    (void)state;
    maker_init(&m, 4);
    put_pair(&m, "type", "done");
    put(&m, "usage");
    msgpack_pack_nil(&m.pk);
    put(&m, "ttft_ms");
    msgpack_pack_nil(&m.pk);
    put_pair(&m, "reason", "stop");
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    assert_true(ev.usage.n == 0 && !ev.has_ttft);
    assert_event_json(&m, NULL, "{\"type\":\"done\",\"reason\":\"stop\"}");
    tc_buf_fini(&m.b);
}

static void event_of_equal_keys_the_first_counts(void **state) {
    struct maker m;
    struct tc_event ev;
    (void)state;
    maker_init(&m, 6);
    put_pair(&m, "type", "note");
    put_pair(&m, "text", "one");
    put_pair(&m, "text", "two");
    put_uint(&m, "text", 3);
    put_pair(&m, "type", "done");
    put_pair(&m, "kind", "k");
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    assert_int_equal(ev.type, TC_EV_NOTE);
    assert_str(ev.text, "one");
    assert_event_json(&m, NULL, "{\"type\":\"note\",\"text\":\"one\",\"kind\":\"k\"}");
    tc_buf_fini(&m.b);
}

static void event_whole_floats_count_as_integers(void **state) {
    struct maker m;
    struct tc_event ev;
    (void)state;
    maker_init(&m, 4);
    put_pair(&m, "type", "delta");
    put_pair(&m, "text", "x");
    put(&m, "offset");
    msgpack_pack_double(&m.pk, 7);
    put(&m, "at");
    msgpack_pack_double(&m.pk, 1790000000123456.0);
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    assert_true(ev.offset == 7 && ev.at == 1790000000123456);
    assert_event_json(&m, NULL, "{\"type\":\"delta\",\"text\":\"x\",\"offset\":7,\"at\":1790000000123456}");
    tc_buf_fini(&m.b);
}

static void event_too_many_keys_or_kept_rows_is_too_large(void **state) {
    struct maker m;
    char key[8];
    (void)state;
    for (size_t n = TC_EVENT_MAX_KEYS; n <= TC_EVENT_MAX_KEYS + 1; n++) {
        maker_init(&m, n);
        put_pair(&m, "type", "x");
        for (size_t i = 1; i < n; i++) {
            snprintf(key, sizeof(key), "k%zu", i);
            put_uint(&m, key, i);
        }
        assert_int_equal(verdict(&m), n == TC_EVENT_MAX_KEYS ? 0 : TC_ETOOLARGE);
    }
    maker_init(&m, 2);
    put_pair(&m, "type", "attempt");
    put(&m, "kept");
    msgpack_pack_array(&m.pk, TC_KEPT_MAX + 1);
    for (size_t i = 0; i <= TC_KEPT_MAX; i++)
        msgpack_pack_map(&m.pk, 0);
    assert_int_equal(verdict(&m), TC_ETOOLARGE);
}

/* {type: note, data: [[…]]}: the outer map is the first level. */
static int nested(unsigned arrays) {
    struct maker m;
    maker_init(&m, 2);
    put_pair(&m, "type", "note");
    put(&m, "data");
    for (unsigned i = 1; i < arrays; i++)
        msgpack_pack_array(&m.pk, 1);
    msgpack_pack_array(&m.pk, 0);
    return verdict(&m);
}

static void event_deeper_than_its_bound_is_too_large(void **state) {
    (void)state;
    assert_int_equal(nested(TC_EVENT_MAX_DEPTH - 1), 0);
    assert_int_equal(nested(TC_EVENT_MAX_DEPTH), TC_ETOOLARGE);
    assert_int_equal(nested(100000), TC_ETOOLARGE);
}

static void event_longer_than_its_bound_is_too_large(void **state) {
    struct maker m;
    char *text = malloc(TC_EVENT_MAX_BYTES);
    (void)state;
    memset(text, 'x', TC_EVENT_MAX_BYTES);
    maker_init(&m, 2);
    put_pair(&m, "type", "note");
    put(&m, "text");
    size_t n = TC_EVENT_MAX_BYTES - m.b.len - 5;
    msgpack_pack_str(&m.pk, n);
    msgpack_pack_str_body(&m.pk, text, n);
    assert_int_equal(m.b.len, TC_EVENT_MAX_BYTES);
    struct tc_event ev;
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    tc_buf_putc(&m.b, 'x');
    assert_int_equal(verdict(&m), TC_ETOOLARGE);
    free(text);
}

static void event_cut_anywhere_is_refused(void **state) {
    struct tc_event ev = {.type = TC_EV_ATTEMPT,
                          .attempt = 300,
                          .try_no = 2,
                          .mode = TC_STR("continue"),
                          .from = {37, 44},
                          .kept = {{TC_STR("text"), 0, 70000}},
                          .kept_count = 1,
                          .at = 5};
    struct tc_buf b;
    (void)state;
    tc_buf_init(&b, 0);
    tc_event_encode(&b, &ev);
    wire_assert_cut_is_refused(&b);
    tc_buf_fini(&b);
}

static void event_json_into_full_buffer_is_rolled_back(void **state) {
    struct maker m;
    struct tc_buf json;
    struct tc_event ev;
    (void)state;
    maker_init(&m, 2);
    put_pair(&m, "type", "note");
    put_pair(&m, "text", "a text that does not fit");
    assert_int_equal(tc_event_decode(m.b.data, m.b.len, &ev), 0);
    tc_buf_init(&json, 32);
    tc_buf_puts(&json, "before");
    assert_int_equal(tc_event_to_json(&json, &ev, m.b.data, m.b.len, NULL), TC_ENOMEM);
    assert_buf(&json, "before");
    tc_buf_fini(&json);
    tc_buf_fini(&m.b);
}

static void event_json_of_binary_is_base64url(void **state) {
    struct maker m;
    (void)state;
    maker_init(&m, 3);
    put_pair(&m, "type", "audio");
    put(&m, "pcm");
    msgpack_pack_bin(&m.pk, 3);
    msgpack_pack_bin_body(&m.pk, "\xfb\xff\xfe", 3);
    put(&m, "ext");
    msgpack_pack_ext(&m.pk, 1, 5);
    msgpack_pack_ext_body(&m.pk, "x", 1);
    assert_event_json(&m, NULL, "{\"type\":\"audio\",\"pcm\":\"-__-\",\"ext\":null}");
    tc_buf_fini(&m.b);
}

static void event_type_names_are_the_wire_names(void **state) {
    (void)state;
    assert_string_equal(tc_event_type_name(TC_EV_UNKNOWN), "unknown");
    assert_string_equal(tc_event_type_name(TC_EV_TOOL_CALL), "tool_call");
    assert_string_equal(tc_event_type_name(TC_EV_FENCE), "fence");
    assert_string_equal(tc_event_type_name((enum tc_event_type)99), "unknown");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_delta_round_trip_keeps_every_field),
        cmocka_unit_test(event_delta_of_another_kind_keeps_its_name),
        cmocka_unit_test(event_attempt_with_full_kept_round_trips),
        cmocka_unit_test(event_done_tells_zero_ttft_from_none),
        cmocka_unit_test(event_encode_into_full_buffer_fails_quietly),
        cmocka_unit_test(event_with_type_last_is_decoded),
        cmocka_unit_test(event_of_unknown_type_and_fields_is_carried_through),
        cmocka_unit_test(event_field_of_another_type_is_not_checked),
        cmocka_unit_test(event_known_field_of_wrong_type_is_refused),
        cmocka_unit_test(event_that_is_not_one_map_with_string_keys_is_refused),
        cmocka_unit_test(event_type_that_could_break_a_line_is_refused),
        cmocka_unit_test(event_delta_without_text_or_offset_is_refused),
        cmocka_unit_test(event_nil_field_counts_as_absent_and_stays_out_of_json),
        cmocka_unit_test(event_of_equal_keys_the_first_counts),
        cmocka_unit_test(event_whole_floats_count_as_integers),
        cmocka_unit_test(event_too_many_keys_or_kept_rows_is_too_large),
        cmocka_unit_test(event_deeper_than_its_bound_is_too_large),
        cmocka_unit_test(event_longer_than_its_bound_is_too_large),
        cmocka_unit_test(event_cut_anywhere_is_refused),
        cmocka_unit_test(event_json_into_full_buffer_is_rolled_back),
        cmocka_unit_test(event_json_of_binary_is_base64url),
        cmocka_unit_test(event_type_names_are_the_wire_names),
    };
    return cmocka_run_group_tests_name("event", tests, NULL, NULL);
}
