/* Events from foreign bytes: the decoder, JSON and the fold may refuse anything, but they agree with each other. */
#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/fold.h"

#include <jansson.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

/* What was decoded survives encoding; encoding that again gives the same bytes. */
static void round_trip(const struct tc_event *ev) {
    struct tc_buf first, second;
    struct tc_event back;
    tc_buf_init(&first, 0);
    tc_buf_init(&second, 0);
    tc_event_encode(&first, ev);
    must(tc_buf_ok(&first));
    int err = tc_event_decode(first.data, first.len, &back);
    /* The one way to grow: a field the sender left out and every event of the type carries. */
    must(err == 0 || (err == TC_ETOOLARGE && first.len > TC_EVENT_MAX_BYTES));
    if (err == 0) {
        must(back.type == ev->type && back.at == ev->at && back.offset == ev->offset && back.index == ev->index);
        must(tc_str_eq(back.text, ev->text) && tc_str_eq(back.type_name, ev->type_name));
        must(tc_str_eq(back.usage, ev->usage) && tc_str_eq(back.data, ev->data) && back.kept_count == ev->kept_count);
        tc_event_encode(&second, &back);
        must(tc_str_eq(tc_buf_str(&first), tc_buf_str(&second)));
    }
    tc_buf_fini(&first);
    tc_buf_fini(&second);
}

static void json(const struct tc_event *ev, const uint8_t *data, size_t size, bool taken) {
    struct tc_buf out;
    tc_buf_init(&out, 0);
    int err = tc_event_to_json(&out, ev, data, size, "\"generation\":\"g\",");
    must(!taken || err == 0);
    must(err == 0 || out.len == 0);
    if (taken) {
        must(memchr(out.data, '\n', out.len) == NULL && memchr(out.data, '\r', out.len) == NULL);
        json_error_t why;
        json_t *value = json_loadb(out.data, out.len, JSON_ALLOW_NUL, &why);
        /* jansson refuses integers past 63 bits and NUL in keys; both are JSON. */
        must(value != NULL || json_error_code(&why) == json_error_numeric_overflow ||
             json_error_code(&why) == json_error_null_byte_in_key);
        json_decref(value);
    }
    tc_buf_fini(&out);
}

/* What was read and written without the tables is what they make of it: the same map behind a longer head is read by
 * them, and without its mark it is written by them. */
static void by_the_tables(const struct tc_event *ev, const uint8_t *data, size_t size) {
    struct tc_buf wide, quick, slow;
    struct tc_event other;
    tc_buf_init(&wide, 0);
    tc_buf_init(&quick, 0);
    tc_buf_init(&slow, 0);
    tc_buf_append(&wide, (const uint8_t[]){0xde, 0, data[0] & 0x0f}, 3);
    tc_buf_append(&wide, data + 1, size - 1);
    must(tc_event_decode(wide.data, wide.len, &other) == 0 && !other.as_encoded);
    must(other.type == ev->type && other.offset == ev->offset && other.index == ev->index && other.at == ev->at);
    must(other.kind == ev->kind && tc_str_eq(other.kind_name, ev->kind_name) && tc_str_eq(other.text, ev->text));
    must(tc_event_to_json(&quick, ev, data, size, "\"generation\":\"g\",") == 0);
    must(tc_event_to_json(&slow, &other, wide.data, wide.len, "\"generation\":\"g\",") == 0);
    must(tc_str_eq(tc_buf_str(&quick), tc_buf_str(&slow)));
    tc_buf_fini(&wide);
    tc_buf_fini(&quick);
    tc_buf_fini(&slow);
}

/* The event twice, as a reader sees it who got it again. */
static void fold(const struct tc_event *ev) {
    struct tc_fold f;
    struct tc_event before = {.type = TC_EV_DELTA, .text = TC_STR("a\xc3\xa4\xf0\x9f\x98\x80z")};
    tc_fold_init(&f, 65536);
    must(tc_fold_apply(&f, (struct tc_position){1, 1}, &before) == 0);
    for (uint64_t seq = 2; seq < 4; seq++) {
        int err = tc_fold_apply(&f, (struct tc_position){1, seq}, ev);
        must(err == 0 || err == TC_ETOOLARGE);
        must(f.bytes <= f.max_bytes && tc_fold_state(&f) != NULL);
        if (err == 0 && ev->type == TC_EV_DELTA)
            must(tc_fold_text(&f, ev->kind, ev->index).n >= ev->text.n);
    }
    tc_fold_fini(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_event ev;
    int err = tc_event_decode(data, size, &ev);
    json(&ev, data, size, err == 0);
    if (err == 0) {
        round_trip(&ev);
        fold(&ev);
    }
    if (err == 0 && ev.as_encoded)
        by_the_tables(&ev, data, size);
    return 0;
}
