/* Writing JSON text, and jansson values from and to MessagePack. Pure functions. */
#include "wire/json.h"

#include "base/utf8.h"
#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/mp.h"
#include "wire/pack.h"

#include <math.h>
#include <stdlib.h>

#define MAX_VALUES 100000

/* ASCII only. 0: copied as it is; 'u': \u00XX; others: a backslash and this letter. */
static const char escape[128] = {
    ['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r', ['"'] = '"', ['\\'] = '\\',
    [0] = 'u',    [1] = 'u',    [2] = 'u',    [3] = 'u',    [4] = 'u',    [5] = 'u',   [6] = 'u',
    [7] = 'u',    [11] = 'u',   [14] = 'u',   [15] = 'u',   [16] = 'u',   [17] = 'u',  [18] = 'u',
    [19] = 'u',   [20] = 'u',   [21] = 'u',   [22] = 'u',   [23] = 'u',   [24] = 'u',  [25] = 'u',
    [26] = 'u',   [27] = 'u',   [28] = 'u',   [29] = 'u',   [30] = 'u',   [31] = 'u',
};

static void put_escape(struct tc_buf *out, unsigned char c) {
    static const char hex[] = "0123456789abcdef";
    if (escape[c] == 'u')
        tc_buf_append(out, (const char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
    else
        tc_buf_append(out, (const char[]){'\\', escape[c]}, 2);
}

/* The text that stands for what begins at s (not ASCII), or NULL if it is copied; *n is what it takes up in s.
 * U+2028 and U+2029 end a line in JavaScript before 2019 and in some SSE readers. */
static const char *replacement(struct tc_str s, size_t *n) {
    *n = tc_utf8_char(s);
    if (*n == 0) {
        *n = 1;
        return "\xef\xbf\xbd";
    }
    if (*n == 3 && memcmp(s.p, "\xe2\x80\xa8", 3) == 0)
        return "\\u2028";
    if (*n == 3 && memcmp(s.p, "\xe2\x80\xa9", 3) == 0)
        return "\\u2029";
    return NULL;
}

/* Bytes at the start of s that are copied as they are, ASCII only. */
static size_t plain_run(struct tc_str s) {
    size_t i = 0;
    while (i < s.n && (unsigned char)s.p[i] < 0x80 && escape[(unsigned char)s.p[i]] == 0)
        i++;
    return i;
}

void tc_json_string(struct tc_buf *out, struct tc_str s) {
    size_t done = 0, i = plain_run(s); /* bytes of s written, and looked at */
    char *to = i == s.n ? tc_buf_reserve(out, s.n + 2) : NULL;
    if (to != NULL) { /* by far the most: one look, one copy */
        *to = '"';
        memcpy(to + 1, i ? s.p : "", i);
        to[i + 1] = '"';
        out->len += i + 2;
        return;
    }
    tc_buf_putc(out, '"');
    while (i < s.n) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n = 1;
        const char *instead = NULL;
        if (c < 0x80 && escape[c] == 0) {
            i++;
            continue;
        }
        if (c >= 0x80 && (instead = replacement((struct tc_str){s.p + i, s.n - i}, &n)) == NULL) {
            i += n;
            continue;
        }
        tc_buf_append(out, s.p + done, i - done);
        if (instead != NULL)
            tc_buf_puts(out, instead);
        else
            put_escape(out, c);
        done = i += n;
    }
    if (s.n > done)
        tc_buf_append(out, s.p + done, s.n - done);
    tc_buf_putc(out, '"');
}

void tc_json_double(struct tc_buf *out, double d) {
    if (isfinite(d))
        tc_buf_put_double(out, d);
    else
        tc_buf_puts(out, "null");
}

static _Thread_local unsigned failures;

static void *allocate(size_t n) {
    void *p = malloc(n);
    failures += p == NULL;
    return p;
}

void tc_json_count_failures(void) {
    json_set_alloc_funcs(allocate, free);
}

unsigned tc_json_failures(void) {
    return failures;
}

json_t *tc_json_load(struct tc_str text, size_t flags, json_error_t *where, int *err) {
    unsigned before = failures;
    json_t *value = json_loadb(text.p ? text.p : "", text.n, flags, where);
    *err = failures != before ? TC_ENOMEM : value == NULL ? TC_ESYNTAX : 0;
    if (*err == 0)
        return value;
    json_decref(value);
    return NULL;
}

static void pack_value(msgpack_packer *pk, const json_t *value, unsigned depth);

static void pack_object(msgpack_packer *pk, const json_t *value, unsigned depth) {
    /* jansson's iteration takes a non-const object but does not change it. */
    json_t *object = (json_t *)(uintptr_t)value;
    const char *key;
    json_t *member;
    msgpack_pack_map(pk, json_object_size(object));
    json_object_foreach(object, key, member) {
        pack_str(pk, tc_str_from(key));
        pack_value(pk, member, depth + 1);
    }
}

static void pack_array(msgpack_packer *pk, const json_t *value, unsigned depth) {
    msgpack_pack_array(pk, json_array_size(value));
    for (size_t i = 0; i < json_array_size(value); i++)
        pack_value(pk, json_array_get(value, i), depth + 1);
}

static void pack_value(msgpack_packer *pk, const json_t *value, unsigned depth) {
    bool container = json_is_object(value) || json_is_array(value);
    if (value == NULL || (container && depth >= TC_EVENT_MAX_DEPTH - 1)) {
        msgpack_pack_nil(pk);
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        pack_object(pk, value, depth);
        break;
    case JSON_ARRAY:
        pack_array(pk, value, depth);
        break;
    case JSON_STRING:
        pack_str(pk, (struct tc_str){json_string_value(value), json_string_length(value)});
        break;
    case JSON_INTEGER:
        msgpack_pack_int64(pk, json_integer_value(value));
        break;
    case JSON_REAL:
        msgpack_pack_double(pk, json_real_value(value));
        break;
    case JSON_TRUE:
        msgpack_pack_true(pk);
        break;
    case JSON_FALSE:
        msgpack_pack_false(pk);
        break;
    case JSON_NULL:
        msgpack_pack_nil(pk);
        break;
    }
}

void tc_json_to_mp(struct tc_buf *out, const json_t *value) {
    msgpack_packer pk;
    pack_init(&pk, out);
    pack_value(&pk, value, 0);
}

static bool few_values(struct tc_str bytes) {
    struct tc_mp m = {(const unsigned char *)bytes.p, (const unsigned char *)bytes.p + bytes.n};
    struct tc_mp_value v;
    for (size_t n = 0; m.p < m.end; n++)
        if (n == MAX_VALUES || tc_mp_next(&m, &v) < 0)
            return false;
    return true;
}

/* By way of the text: one set of rules for what MessagePack means in JSON, and off the hot path. */
json_t *tc_mp_to_jansson(struct tc_str bytes) {
    struct tc_buf text;
    json_t *value = NULL;
    int err;
    if (bytes.n == 0 || !few_values(bytes))
        return NULL;
    struct tc_mp m = {(const unsigned char *)bytes.p, (const unsigned char *)bytes.p + bytes.n};
    tc_buf_init(&text, 0);
    if (tc_mp_to_json(&m, &text, TC_EVENT_MAX_DEPTH) == 0 && m.p == m.end)
        value = tc_json_load(tc_buf_str(&text), JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL, &err);
    tc_buf_fini(&text);
    return value;
}
