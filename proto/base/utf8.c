/* UTF-8 checking and UTF-16 lengths, eight ASCII bytes at a time where they are. Pure functions. */
#include "base/utf8.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

/* Arithmetic on a NULL that stands for an empty run is undefined, so each walk first makes it a run of its own. */
static const unsigned char *first_byte(struct tc_str s) {
    return (const unsigned char *)(s.n == 0 ? "" : s.p);
}

/* Bytes of plain ASCII at the start of [p, end), most of them in steps of eight. */
static size_t ascii_run(const unsigned char *p, const unsigned char *end) {
    const unsigned char *start = p;
    uint64_t word;
    while (end - p >= 8) {
        memcpy(&word, p, sizeof(word));
        if (word & HIGH_BITS)
            break;
        p += 8;
    }
    while (p < end && *p < 0x80)
        p++;
    return (size_t)(p - start);
}

/* What the first byte asks for: bytes in all (0 = cannot begin a character) and the range of the second byte
 * (RFC 3629, section 4), which is where overlong forms, surrogates and values past U+10FFFF are caught. */
static size_t lead(unsigned char c, unsigned char *low, unsigned char *high) {
    *low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    *high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

/* Bytes at p that are a character or may yet become one; *whole says which. 0: neither. */
static size_t scan_char(const unsigned char *p, const unsigned char *end, bool *whole) {
    unsigned char low, high;
    size_t want = lead(*p, &low, &high), have = (size_t)(end - p), n = 1;
    for (; n < want && n < have; n++) {
        if (p[n] < low || p[n] > high)
            return 0;
        low = 0x80, high = 0xbf;
    }
    *whole = n == want;
    return want == 0 ? 0 : n;
}

/* As tc_utf8_char(). */
static size_t whole_char(const unsigned char *p, const unsigned char *end) {
    bool whole;
    if (*p < 0x80)
        return 1;
    size_t n = scan_char(p, end, &whole);
    return n != 0 && whole ? n : 0;
}

size_t tc_utf8_char(struct tc_str s) {
    const unsigned char *p = (const unsigned char *)s.p;
    return s.n == 0 ? 0 : whole_char(p, p + s.n);
}

bool tc_utf8_valid(struct tc_str s) {
    const unsigned char *p = first_byte(s), *end = p + s.n;
    while (p < end) {
        p += ascii_run(p, end);
        if (p == end)
            break;
        size_t n = whole_char(p, end);
        if (n == 0)
            return false;
        p += n;
    }
    return true;
}

size_t tc_utf8_complete(struct tc_str s) {
    const unsigned char *start = (const unsigned char *)s.p;
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        unsigned char c = start[s.n - back];
        if (c >= 0x80 && c < 0xc0)
            continue;
        bool whole = true;
        size_t n = scan_char(start + s.n - back, start + s.n, &whole);
        return n == back && !whole ? s.n - back : s.n;
    }
    return s.n;
}

uint64_t tc_utf16_len(struct tc_str s) {
    const unsigned char *p = first_byte(s), *end = p + s.n;
    uint64_t units = 0;
    while (p < end) {
        size_t n = ascii_run(p, end);
        units += n;
        p += n;
        if (p == end)
            break;
        n = whole_char(p, end);
        units += n == 4 ? 2 : 1;
        p += n ? n : 1;
    }
    return units;
}

size_t tc_utf16_to_byte(struct tc_str s, uint64_t units) {
    const unsigned char *start = first_byte(s), *p = start, *end = p + s.n;
    while (p < end && units > 0) {
        const unsigned char *limit = units < (uint64_t)(end - p) ? p + units : end;
        size_t n = ascii_run(p, limit);
        if (n != 0) {
            units -= n;
            p += n;
            continue;
        }
        n = whole_char(p, end);
        if (n == 4 && units == 1)
            break;
        units -= n == 4 ? 2 : 1;
        p += n ? n : 1;
    }
    return (size_t)(p - start);
}
