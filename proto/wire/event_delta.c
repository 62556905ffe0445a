/* Deltas; see event_delta.h. */
#include "wire/event_delta.h"

#include "base/digits.h"
#include "base/utf8.h"
#include "wire/json.h"
#include "wire/mp.h"

/* MessagePack strings; their heads in octal, which ends after three digits. */
#define TYPE_IS_DELTA "\244type\245delta"
#define TEXT          "\244text"
#define OFFSET        "\246offset"
#define KIND          "\244kind"
#define INDEX         "\245index"
#define AT            "\242at"

/* ---- encoded ---- */

/* Big-endian. */
static char *put_bytes(char *to, uint64_t v, unsigned n) {
    for (unsigned bits = 8 * n; bits > 0;)
        *to++ = (char)(v >> (bits -= 8));
    return to;
}

/* `head` is that of the narrowest of four, for values of 1, 2, 4 and 8 bytes. */
static char *put_wide(char *to, unsigned head, uint64_t v) {
    unsigned power = (v > UINT8_MAX) + (v > UINT16_MAX) + (v > UINT32_MAX);
    *to++ = (char)(head + power);
    return put_bytes(to, v, 1U << power);
}

static char *put_uint(char *to, uint64_t v) {
    if (v >= 0x80)
        return put_wide(to, 0xcc, v);
    *to++ = (char)v;
    return to;
}

static char *put_int(char *to, int64_t v) {
    if (v >= 0)
        return put_uint(to, (uint64_t)v);
    *to++ = (char)0xd3; /* no clock says so: always in eight bytes */
    return put_bytes(to, (uint64_t)v, 8);
}

static char *put_str_head(char *to, size_t n) {
    if (n >= 32)
        return put_wide(to, 0xd9, n);
    *to++ = (char)(0xa0 | n);
    return to;
}

#define PUT(to, literal) ((char *)memcpy((to), (literal), sizeof(literal) - 1) + sizeof(literal) - 1)

void event_delta_write(struct tc_buf *out, const struct tc_event *ev) {
    char part[64], *to = part; /* what lies between the strings */
    *to++ = (char)(0x80 | (3U + (ev->kind != TC_KIND_TEXT) + (ev->index != 0) + (ev->at != 0)));
    to = put_str_head(PUT(to, TYPE_IS_DELTA TEXT), ev->text.n);
    tc_buf_append(out, part, (size_t)(to - part));
    tc_buf_put_str(out, ev->text);
    to = put_uint(PUT(part, OFFSET), ev->offset);
    if (ev->kind != TC_KIND_TEXT) {
        struct tc_str kind = ev->kind == TC_KIND_REASONING ? TC_STR("reasoning") : ev->kind_name;
        to = put_str_head(PUT(to, KIND), kind.n);
        tc_buf_append(out, part, (size_t)(to - part));
        tc_buf_put_str(out, kind);
        to = part;
    }
    if (ev->index != 0)
        to = put_uint(PUT(to, INDEX), ev->index);
    if (ev->at != 0)
        to = put_int(PUT(to, AT), ev->at);
    tc_buf_append(out, part, (size_t)(to - part));
}

/* ---- read ---- */

static inline bool pass(struct tc_mp *m, const char *bytes, size_t n) {
    if ((size_t)(m->end - m->p) < n || memcmp(m->p, bytes, n) != 0)
        return false;
    m->p += n;
    return true;
}

#define PASS(m, literal) pass((m), (literal), sizeof(literal) - 1)

/* A number of `width` bytes, big-endian. */
static inline bool take_wide(struct tc_mp *m, size_t width, uint64_t *out) {
    if ((size_t)(m->end - m->p) < width)
        return false;
    for (*out = 0; width > 0; width--)
        *out = *out << 8 | *m->p++;
    return true;
}

static bool take_uint(struct tc_mp *m, uint64_t *out) {
    if (m->p == m->end)
        return false;
    unsigned char head = *m->p++;
    *out = head;
    return head < 0x80 || (head >= 0xcc && head <= 0xcf && take_wide(m, (size_t)1 << (head - 0xcc), out));
}

static bool take_str(struct tc_mp *m, struct tc_str *out) {
    if (m->p == m->end)
        return false;
    unsigned char head = *m->p++;
    uint64_t n = head & 0x1f;
    if ((head & 0xe0) != 0xa0 && !(head >= 0xd9 && head <= 0xdb && take_wide(m, (size_t)1 << (head - 0xd9), &n)))
        return false;
    if (n > (uint64_t)(m->end - m->p))
        return false;
    *out = (struct tc_str){(const char *)m->p, (size_t)n};
    m->p += n;
    return tc_utf8_valid(*out);
}

/* Only what the encoder would have written: a value at its default is left out, and the struct could not tell. */
static bool take_rest(struct tc_mp *m, unsigned fields, struct tc_event *out) {
    uint64_t at = 0;
    if (fields > 0 && PASS(m, KIND)) {
        if (!take_str(m, &out->kind_name) || out->kind_name.n == 0 || tc_str_is(out->kind_name, "text"))
            return false;
        fields--;
    }
    if (fields > 0 && PASS(m, INDEX)) {
        if (!take_uint(m, &out->index) || out->index == 0)
            return false;
        fields--;
    }
    if (fields > 0 && PASS(m, AT)) {
        if (!take_uint(m, &at) || at == 0 || at > INT64_MAX)
            return false;
        fields--;
    }
    out->at = (int64_t)at;
    return fields == 0 && m->p == m->end;
}

bool event_delta_read(struct tc_str bytes, struct tc_event *out) {
    struct tc_mp m = {(const unsigned char *)bytes.p, (const unsigned char *)bytes.p + bytes.n};
    unsigned fields = bytes.n > 0 ? *m.p++ ^ 0x80u : 0; /* a map of less than 16 */
    if (fields < 3 || fields > 6 || !PASS(&m, TYPE_IS_DELTA TEXT) || !take_str(&m, &out->text) || !PASS(&m, OFFSET) ||
        !take_uint(&m, &out->offset) || !take_rest(&m, fields - 3, out))
        return false;
    out->type = TC_EV_DELTA;
    out->type_name = TC_STR("delta");
    out->as_encoded = true;
    return true;
}

/* ---- as JSON ---- */

static void json_head(struct tc_buf *out, struct tc_str extra) {
    static const char head[] = "\"type\":\"delta\",\"text\":";
    char *to = tc_buf_reserve(out, 1 + extra.n + sizeof(head) - 1);
    if (to == NULL)
        return;
    *to++ = '{';
    if (extra.n > 0)
        memcpy(to, extra.p, extra.n);
    memcpy(to + extra.n, head, sizeof(head) - 1);
    out->len += 1 + extra.n + sizeof(head) - 1;
}

/* `,"name":` and its value. */
static inline void json_uint(struct tc_buf *out, struct tc_str head, uint64_t value) {
    char text[16 + TC_DIGITS_MAX];
    memcpy(text, head.p, head.n);
    tc_buf_append(out, text, head.n + tc_digits(text + head.n, value));
}

void event_delta_json(struct tc_buf *out, const struct tc_event *ev, const char *extra) {
    json_head(out, tc_str_from(extra));
    tc_json_string(out, ev->text);
    json_uint(out, TC_STR(",\"offset\":"), ev->offset);
    if (ev->kind != TC_KIND_TEXT) {
        tc_buf_put_str(out, TC_STR(",\"kind\":"));
        tc_json_string(out, ev->kind == TC_KIND_REASONING ? TC_STR("reasoning") : ev->kind_name);
    }
    if (ev->index != 0)
        json_uint(out, TC_STR(",\"index\":"), ev->index);
    if (ev->at != 0)
        json_uint(out, TC_STR(",\"at\":"), (uint64_t)ev->at);
    tc_buf_putc(out, '}');
}
