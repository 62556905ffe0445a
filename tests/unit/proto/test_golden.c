/* The exact bytes of every event type: tests/golden/<name>.mp and its JSON, <name>.json. After a wanted change of the
 * format run this test once with TC_GOLDEN_WRITE=1 in the environment, look at the difference, and commit it. What is
 * written is also unpacked with msgpack-c, so that not only our own decoder says it is MessagePack. */
#include "tokencast/event.h"

#include "wire_support.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>

#define AT 1790000000123456
/* {"input_tokens": 12, "output_tokens": 300, "cost": 0.25, "details": {"cached": [1, null, true]}} */
#define USAGE                                                                                                          \
    "\x84\xacinput_tokens\x0c\xadoutput_tokens\xcd\x01\x2c\xa4"                                                        \
    "cost\xcb\x3f\xd0\x00\x00\x00\x00\x00\x00\xa7"                                                                     \
    "details\x81\xa6"                                                                                                  \
    "cached\x93\x01\xc0\xc3"

static const struct {
    const char *name;
    struct tc_event ev;
} golden[] = {
    {"created", {.type = TC_EV_CREATED, .model = TC_STR("m"), .channel = TC_STR("room42"), .at = AT}},
    {"created-traced",
     {.type = TC_EV_CREATED,
      .model = TC_STR("m"),
      .traceparent = TC_STR("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
      .at = AT}},
    {"created-bare", {.type = TC_EV_CREATED, .at = AT}},
    {"start", {.type = TC_EV_START, .model = TC_STR("m-2026"), .provider = TC_STR("openai"), .at = AT}},
    {"delta", {.type = TC_EV_DELTA, .text = TC_STR(" quick"), .offset = 3, .at = AT}},
    {"delta-empty", {.type = TC_EV_DELTA}},
    {"delta-reasoning",
     {.type = TC_EV_DELTA,
      .text = TC_STR("H\xc3\xa4? \xf0\x9f\x98\x80 \"so\"\\\n\t\xe2\x80\xa8!"),
      .offset = 70000,
      .kind = TC_KIND_REASONING,
      .index = 2,
      .at = AT}},
    {"delta-other",
     {.type = TC_EV_DELTA,
      .text = TC_STR("la"),
      .offset = 4294967296,
      .kind = TC_KIND_OTHER,
      .kind_name = TC_STR("lyrics"),
      .index = 200,
      .at = AT}},
    {"tool_call-begin",
     {.type = TC_EV_TOOL_CALL, .index = 1, .id = TC_STR("call_7"), .name = TC_STR("search"), .at = AT}},
    {"tool_call",
     {.type = TC_EV_TOOL_CALL, .index = 1, .arguments = TC_STR("{\"q\":\"caf\xc3\xa9"), .offset = 0, .at = AT}},
    {"tool_call-done",
     {.type = TC_EV_TOOL_CALL, .index = 1, .arguments = TC_STR("\"}"), .offset = 10, .done = true, .at = AT}},
    {"tool_call-invalid", {.type = TC_EV_TOOL_CALL, .offset = 10, .done = true, .invalid = true, .at = AT}},
    {"note",
     {.type = TC_EV_NOTE,
      .kind_name = TC_STR("citation"),
      .text = TC_STR("Searching tickets\xe2\x80\xa6"),
      .data = TC_STR("\x92\xa1x\x81\xa3url\xa4http"),
      .at = AT}},
    {"note-bare", {.type = TC_EV_NOTE, .text = TC_STR("Thinking"), .at = AT}},
    {"attempt-continue",
     {.type = TC_EV_ATTEMPT,
      .attempt = 51234,
      .try_no = 2,
      .reason = TC_STR("lease_expired"),
      .mode = TC_STR("continue"),
      .from = {37, 44},
      .kept = {{TC_STR("text"), 0, 1200}, {TC_STR("reasoning"), 1, 7}, {TC_STR("tool_call"), 0, 0}},
      .kept_count = 3,
      .at = AT}},
    {"attempt-restart",
     {.type = TC_EV_ATTEMPT,
      .attempt = 9,
      .try_no = 3,
      .reason = TC_STR("handed_back"),
      .mode = TC_STR("restart"),
      .from = {1, 2},
      .at = AT}},
    {"error",
     {.type = TC_EV_ERROR,
      .code = TC_STR("upstream_status"),
      .message = TC_STR("429 Too Many Requests"),
      .recoverable = true,
      .retry_after_ms = 20000,
      .at = AT}},
    {"error-final", {.type = TC_EV_ERROR, .code = TC_STR("upstream_eof"), .message = TC_STR("cut"), .at = AT}},
    {"done",
     {.type = TC_EV_DONE,
      .reason = TC_STR("stop"),
      .usage = {USAGE, sizeof(USAGE) - 1},
      .ttft_ms = 120,
      .has_ttft = true,
      .duration_ms = 5400,
      .text_length = 1201,
      .at = AT}},
    {"done-cancelled", {.type = TC_EV_DONE, .reason = TC_STR("cancelled"), .at = AT}},
    {"fence", {.type = TC_EV_FENCE, .writer = TC_STR("Zm9vYmFyZm9vYmFy")}},
    {"unknown", {.type = TC_EV_UNKNOWN, .type_name = TC_STR("vendor.thing"), .at = AT}},
};
#define GOLDEN (sizeof(golden) / sizeof(golden[0]))

static FILE *open_file(const char *name, const char *ending, const char *mode) {
    char path[1024];
    snprintf(path, sizeof(path), "%s/golden/%s.%s", TC_TESTS_DIR, name, ending);
    FILE *f = fopen(path, mode);
    if (f == NULL)
        fail_msg("%s cannot be opened", path);
    return f;
}

/* Compares with the file, or writes it. */
static void check_file(const char *name, const char *ending, struct tc_str got) {
    char want[4096];
    if (getenv("TC_GOLDEN_WRITE") != NULL) {
        FILE *out = open_file(name, ending, "wb");
        assert_int_equal(fwrite(got.p, 1, got.n, out), got.n);
        assert_int_equal(fclose(out), 0);
        return;
    }
    FILE *in = open_file(name, ending, "rb");
    size_t n = fread(want, 1, sizeof(want), in);
    fclose(in);
    if (!tc_str_eq(got, (struct tc_str){want, n})) {
        print_error("%s.%s differs\n", name, ending);
        wire_assert_str(got, (struct tc_str){want, n}, __FILE__, __LINE__);
    }
}

static void golden_encoding_is_byte_for_byte_the_same(void **state) {
    struct tc_buf mp, json;
    (void)state;
    tc_buf_init(&mp, 0);
    tc_buf_init(&json, 0);
    for (size_t i = 0; i < GOLDEN; i++) {
        tc_buf_reset(&mp);
        tc_buf_reset(&json);
        tc_event_encode(&mp, &golden[i].ev);
        check_file(golden[i].name, "mp", tc_buf_str(&mp));
        assert_int_equal(tc_event_to_json(&json, &golden[i].ev, mp.data, mp.len, NULL), 0);
        tc_buf_putc(&json, '\n');
        check_file(golden[i].name, "json", tc_buf_str(&json));
    }
    tc_buf_fini(&mp);
    tc_buf_fini(&json);
}

static void golden_decoded_and_encoded_again_is_the_same(void **state) {
    struct tc_buf first, second;
    struct tc_event ev;
    (void)state;
    tc_buf_init(&first, 0);
    tc_buf_init(&second, 0);
    for (size_t i = 0; i < GOLDEN; i++) {
        tc_buf_reset(&first);
        tc_buf_reset(&second);
        tc_event_encode(&first, &golden[i].ev);
        assert_int_equal(tc_event_decode(first.data, first.len, &ev), 0);
        assert_int_equal(ev.type, golden[i].ev.type);
        tc_event_encode(&second, &ev);
        assert_true(tc_str_eq(tc_buf_str(&first), tc_buf_str(&second)));
    }
    tc_buf_fini(&first);
    tc_buf_fini(&second);
}

/* msgpack-c's object as jansson, written apart from the code under test. */
static json_t *object_to_json(const msgpack_object *o) {
    json_t *out;
    switch (o->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        return json_boolean(o->via.boolean);
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        return json_integer(o->via.i64);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        return json_real(o->via.f64);
    case MSGPACK_OBJECT_STR:
        return json_stringn(o->via.str.ptr, o->via.str.size);
    case MSGPACK_OBJECT_ARRAY:
        out = json_array();
        for (uint32_t i = 0; i < o->via.array.size; i++)
            json_array_append_new(out, object_to_json(&o->via.array.ptr[i]));
        return out;
    case MSGPACK_OBJECT_MAP:
        out = json_object();
        for (uint32_t i = 0; i < o->via.map.size; i++) {
            char key[64] = {0};
            const msgpack_object *k = &o->via.map.ptr[i].key;
            assert_int_equal(k->type, MSGPACK_OBJECT_STR);
            assert_true(k->via.str.size < sizeof(key));
            memcpy(key, k->via.str.ptr, k->via.str.size);
            json_object_set_new(out, key, object_to_json(&o->via.map.ptr[i].val));
        }
        return out;
    default:
        return json_null();
    }
}

static void golden_bytes_are_what_msgpack_c_and_jansson_read(void **state) {
    (void)state;
    for (size_t i = 0; i < GOLDEN; i++) {
        char bytes[4096];
        FILE *in = open_file(golden[i].name, "mp", "rb");
        size_t n = fread(bytes, 1, sizeof(bytes), in), off = 0;
        fclose(in);
        msgpack_unpacked u;
        msgpack_unpacked_init(&u);
        assert_int_equal(msgpack_unpack_next(&u, bytes, n, &off), MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(off, n);
        json_t *from_mp = object_to_json(&u.data);
        FILE *text = open_file(golden[i].name, "json", "rb");
        json_t *from_json = json_loadf(text, 0, NULL);
        fclose(text);
        assert_non_null(from_json);
        assert_true(json_equal(from_mp, from_json));
        json_decref(from_mp);
        json_decref(from_json);
        msgpack_unpacked_destroy(&u);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_encoding_is_byte_for_byte_the_same),
        cmocka_unit_test(golden_decoded_and_encoded_again_is_the_same),
        cmocka_unit_test(golden_bytes_are_what_msgpack_c_and_jansson_read),
    };
    return cmocka_run_group_tests_name("golden", tests, NULL, NULL);
}
