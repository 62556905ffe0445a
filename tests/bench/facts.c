/* Scans an event's JSON for a few keys. A key cannot be mistaken for text: inside a JSON string its closing quote would
 * be escaped. Pure functions. */
#include "facts.h"

#include <string.h>

#define KEY(literal) (literal), sizeof(literal) - 1

/* What follows `key`, which includes its quotes and colon; NULL if it is not there. */
static const char *after(const char *json, size_t n, const char *key, size_t key_len) {
    const char *p = memmem(json, n, key, key_len);
    return p == NULL ? NULL : p + key_len;
}

static bool digits(const char **p, const char *end, uint64_t *out) {
    const char *start = *p;
    uint64_t v = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; (*p)++) {
        unsigned d = (unsigned)(**p - '0');
        if (v > (UINT64_MAX - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *out = v;
    return *p > start && (*start != '0' || *p == start + 1);
}

static bool number(const char *json, size_t n, const char *key, size_t key_len, uint64_t *out) {
    const char *p = after(json, n, key, key_len);
    return p != NULL && digits(&p, json + n, out);
}

bool facts_parse_position(const char *p, size_t n, struct facts_position *out) {
    const char *end = p + n;
    if (!digits(&p, end, &out->attempt) || p == end || *p != '-')
        return false;
    p++;
    return digits(&p, end, &out->seq) && p == end;
}

static bool position(const char *json, size_t n, const char *key, size_t key_len, struct facts_position *out) {
    const char *p = after(json, n, key, key_len);
    const char *quote = p == NULL ? NULL : memchr(p, '"', (size_t)(json + n - p));
    return quote != NULL && facts_parse_position(p, (size_t)(quote - p), out);
}

/* Length in UTF-16 code units of the JSON string whose inside begins at p; false if it does not end. */
static bool string_units(const char *p, const char *end, uint64_t *out) {
    uint64_t units = 0;
    for (; p < end; p++) {
        unsigned char ch = (unsigned char)*p;
        if (ch == '"') {
            *out = units;
            return true;
        }
        if (ch == '\\') {
            p += p + 1 < end && p[1] == 'u' ? 5 : 1;
            units++;
        } else if ((ch & 0xC0) != 0x80) { /* a character's first byte; four bytes are a surrogate pair */
            units += ch >= 0xF0 ? 2 : 1;
        }
    }
    return false;
}

void facts_of_delta(struct facts *f, const char *json, size_t n) {
    const char *text = after(json, n, KEY("\"text\":\""));
    const char *kind = after(json, n, KEY("\"kind\":\""));
    uint64_t index = 0;
    if (!number(json, n, KEY("\"at\":"), &f->at))
        f->at = 0;
    f->has_offset = number(json, n, KEY("\"offset\":"), &f->offset);
    f->has_text = text != NULL && string_units(text, json + n, &f->units);
    f->answer_text = (kind == NULL || ((size_t)(json + n - kind) >= 5 && memcmp(kind, "text\"", 5) == 0)) &&
                     (!number(json, n, KEY("\"index\":"), &index) || index == 0);
}

void facts_of_gap(struct facts *f, const char *json, size_t n) {
    f->has_range = position(json, n, KEY("\"from\":\""), &f->from) && position(json, n, KEY("\"to\":\""), &f->to);
    if (!number(json, n, KEY("\"dropped\":"), &f->dropped))
        f->dropped = 0;
    f->lost = memmem(json, n, KEY("\"reason\":\"lost\"")) != NULL;
}

bool facts_id(const char *json, size_t n, struct facts_position *out) {
    return position(json, n, KEY("\"id\":\""), out);
}

void facts_of_done(struct facts *f, const char *json, size_t n) {
    f->has_text_length = number(json, n, KEY("\"text_length\":"), &f->text_length);
}
