/* Events, JSON and the fold with each allocation failing in turn: TC_ENOMEM, never half a result that looks whole. */
#include "nomem.h"

#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/fold.h"
#include "wire/json.h"
#include "wire/mp.h"
#include "wire_support.h"

#include <string.h>

static const struct tc_event created = {
    .type = TC_EV_CREATED, .model = TC_STR("m"), .channel = TC_STR("room"), .at = 7};
static struct tc_event delta, tool, attempt, failure, done;
static struct tc_buf usage, text;

static int prepare(void **state) {
    (void)state;
    tc_json_count_failures();
    tc_buf_init(&usage, 0);
    wire_hex(&usage, "82 a1 61 01 a1 62 92 a3 61 62 63 c0");
    tc_buf_init(&text, 0);
    for (int i = 0; i < 100; i++)
        tc_buf_puts(&text, "a line with \"quotes\" and \xc3\xa9\n");
    delta = (struct tc_event){.type = TC_EV_DELTA, .text = tc_buf_str(&text), .kind = TC_KIND_REASONING, .index = 3};
    tool = (struct tc_event){.type = TC_EV_TOOL_CALL,
                             .id = TC_STR("call_1"),
                             .name = TC_STR("weather"),
                             .arguments = tc_buf_str(&text),
                             .done = true};
    attempt =
        (struct tc_event){.type = TC_EV_ATTEMPT, .attempt = 2, .mode = TC_STR("continue"), .kept_count = TC_KEPT_MAX};
    for (size_t i = 0; i < TC_KEPT_MAX; i++)
        attempt.kept[i] = (struct tc_kept){.kind = TC_STR("text"), .index = i, .length = 1};
    failure = (struct tc_event){.type = TC_EV_ERROR, .code = TC_STR("upstream"), .message = tc_buf_str(&text)};
    done = (struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop"), .usage = tc_buf_str(&usage)};
    return 0;
}

static int drop(void **state) {
    (void)state;
    tc_buf_fini(&usage);
    tc_buf_fini(&text);
    return 0;
}

static const struct tc_event *const samples[] = {&created, &delta, &tool, &attempt, &failure, &done};
#define SAMPLES (sizeof samples / sizeof samples[0])

static bool encode(void *arg, enum nomem_mode mode, unsigned n) {
    struct tc_buf out;
    struct tc_event back;
    tc_buf_init(&out, 0);
    nomem_begin(mode, n);
    tc_event_encode(&out, arg);
    bool failed = nomem_end();
    assert_int_equal(tc_buf_ok(&out), !failed);
    tc_buf_reset(&out); /* the buffer is of use again */
    tc_event_encode(&out, arg);
    assert_true(tc_buf_ok(&out));
    assert_int_equal(tc_event_decode(out.data, out.len, &back), 0);
    tc_buf_fini(&out);
    return failed;
}

static void event_encoded_without_memory_marks_its_buffer(void **state) {
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        union { /* the attempt only reads it */
            const struct tc_event *in;
            void *out;
        } u = {samples[i]};
        nomem_each(encode, u.out);
    }
}

static bool to_json(void *arg, enum nomem_mode mode, unsigned n) {
    const struct tc_buf *raw = arg;
    struct tc_buf out;
    struct tc_event ev;
    assert_int_equal(tc_event_decode(raw->data, raw->len, &ev), 0);
    tc_buf_init(&out, 0);
    tc_buf_puts(&out, "before");
    nomem_begin(mode, n);
    int rc = tc_event_to_json(&out, &ev, raw->data, raw->len, "\"generation\":\"g\",");
    bool failed = nomem_end();
    assert_int_equal(rc, failed ? TC_ENOMEM : 0);
    if (failed)
        assert_buf(&out, "before"); /* as it was */
    tc_buf_fini(&out);
    return failed;
}

static void event_to_json_without_memory_leaves_its_buffer_as_it_was(void **state) {
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct tc_buf raw = {0};
        tc_event_encode(&raw, samples[i]);
        nomem_each(to_json, &raw);
        tc_buf_fini(&raw);
    }
}

static bool to_jansson(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct tc_buf back = {0};
    nomem_begin(mode, n);
    json_t *value = tc_mp_to_jansson(tc_buf_str(&usage));
    bool failed = nomem_end();
    assert_int_equal(value == NULL, failed);
    tc_json_to_mp(&back, value);
    if (!failed)
        assert_true(tc_str_eq(tc_buf_str(&back), tc_buf_str(&usage)));
    json_decref(value);
    tc_buf_fini(&back);
    return failed;
}

static void jansson_of_msgpack_without_memory_is_none(void **state) {
    (void)state;
    nomem_each(to_jansson, NULL);
}

static bool from_jansson(void *arg, enum nomem_mode mode, unsigned n) {
    struct tc_buf out = {0};
    nomem_begin(mode, n);
    tc_json_to_mp(&out, arg);
    bool failed = nomem_end();
    assert_int_equal(tc_buf_ok(&out), !failed);
    tc_buf_fini(&out);
    return failed;
}

static void msgpack_of_jansson_without_memory_marks_its_buffer(void **state) {
    (void)state;
    json_t *value = json_pack("{s:s%, s:[i, f, b, n]}", "text", text.data, text.len, "list", 1, 2.5, 1);
    assert_non_null(value);
    nomem_each(from_jansson, value);
    json_decref(value);
}

/* ---- the fold ---- */

static bool apply_all(struct tc_fold *f, size_t *applied) {
    for (*applied = 0; *applied < SAMPLES - 2; ++*applied) {
        struct tc_position at = {1, *applied + 1};
        int rc = tc_fold_apply(f, at, samples[*applied]);
        if (rc == 0)
            continue;
        assert_int_equal(rc, TC_ENOMEM);
        return false;
    }
    return true;
}

static bool fold(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct tc_fold f;
    size_t applied;
    tc_fold_init(&f, 100000);
    nomem_begin(mode, n);
    bool whole = apply_all(&f, &applied);
    bool failed = nomem_end();
    assert_int_equal(whole, !failed);
    assert_int_equal(f.position.seq, applied); /* what was refused does not count as applied */
    if (failed) {                              /* and can be applied now: nothing is twice or missing */
        for (size_t i = applied; i < SAMPLES - 2; i++)
            assert_int_equal(tc_fold_apply(&f, (struct tc_position){1, i + 1}, samples[i]), 0);
    }
    size_t bytes = 0;
    for (size_t i = 0; i < f.piece_count; i++)
        bytes += f.pieces[i].text.len;
    for (size_t i = 0; i < f.tool_count; i++)
        bytes += f.tools[i].id.len + f.tools[i].name.len + f.tools[i].arguments.len;
    assert_int_equal(f.bytes, bytes);
    tc_fold_fini(&f);
    return failed;
}

static void fold_without_memory_refuses_the_event_and_goes_on_later(void **state) {
    (void)state;
    nomem_each(fold, NULL);
}

static bool fold_many(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct tc_fold f;
    tc_fold_init(&f, 100000);
    nomem_begin(mode, n);
    int rc = 0;
    uint64_t i = 0;
    for (; i < 40 && rc == 0; i++) {
        struct tc_event piece = {.type = TC_EV_DELTA, .text = TC_STR("x"), .index = i % 20};
        struct tc_event call = {.type = TC_EV_TOOL_CALL, .arguments = TC_STR("y"), .index = i % 20};
        rc = tc_fold_apply(&f, (struct tc_position){1, i + 1}, i < 20 ? &piece : &call);
    }
    bool failed = nomem_end();
    assert_int_equal(rc, failed ? TC_ENOMEM : 0);
    for (uint64_t k = 0; k + 1 < i && k < 20; k++)
        assert_str(tc_fold_text(&f, TC_KIND_TEXT, k), "x"); /* what was there before */
    tc_fold_fini(&f);
    return failed;
}

static void fold_growing_without_memory_keeps_what_it_has(void **state) {
    (void)state;
    nomem_each(fold_many, NULL);
}

/* ---- buffers ---- */

static bool print(void *arg, enum nomem_mode mode, unsigned n) {
    (void)arg;
    struct tc_buf b;
    tc_buf_init(&b, 0);
    nomem_begin(mode, n);
    tc_buf_printf(&b, "%064d", 1); /* exactly what is allocated first: the NUL needs more */
    tc_buf_put_double(&b, 0.1);
    char *s = tc_buf_take_cstr(&b);
    bool failed = nomem_end();
    assert_int_equal(s == NULL, failed);
    if (s != NULL)
        assert_int_equal(strlen(s), 64 + 3);
    free(s);
    tc_buf_puts(&b, "again");
    assert_buf(&b, "again");
    tc_buf_fini(&b);
    return failed;
}

static void buf_without_memory_fails_once_and_is_of_use_again(void **state) {
    (void)state;
    nomem_each(print, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_encoded_without_memory_marks_its_buffer),
        cmocka_unit_test(event_to_json_without_memory_leaves_its_buffer_as_it_was),
        cmocka_unit_test(jansson_of_msgpack_without_memory_is_none),
        cmocka_unit_test(msgpack_of_jansson_without_memory_marks_its_buffer),
        cmocka_unit_test(fold_without_memory_refuses_the_event_and_goes_on_later),
        cmocka_unit_test(fold_growing_without_memory_keeps_what_it_has),
        cmocka_unit_test(buf_without_memory_fails_once_and_is_of_use_again),
    };
    return cmocka_run_group_tests(tests, prepare, drop);
}
