/* Positions: parsing, formatting, order. Pure functions. */
#include "tokencast/position.h"

#include "base/digits.h"
#include "tokencast/error.h"

/* A decimal number without sign or leading zeros from *p; moves *p past it. */
static int parse_u64(const char **p, const char *end, uint64_t *out) {
    const char *start = *p;
    uint64_t v = 0;
    for (; *p < end && **p >= '0' && **p <= '9'; ++*p) {
        unsigned digit = (unsigned)(**p - '0');
        if (v > (UINT64_MAX - digit) / 10)
            return TC_ESYNTAX;
        v = v * 10 + digit;
    }
    if (*p == start || (*start == '0' && *p - start > 1))
        return TC_ESYNTAX;
    *out = v;
    return 0;
}

int tc_position_parse(const char *text, size_t len, struct tc_position *out) {
    struct tc_position pos;
    const char *p = text, *end;
    if (len == 0)
        return TC_ESYNTAX;
    end = text + len;
    if (parse_u64(&p, end, &pos.attempt) < 0 || p == end || *p++ != '-' || parse_u64(&p, end, &pos.seq) < 0 || p != end)
        return TC_ESYNTAX;
    *out = pos;
    return 0;
}

size_t tc_position_format(struct tc_position p, char *out) {
    size_t n = tc_digits(out, p.attempt);
    out[n++] = '-';
    n += tc_digits(out + n, p.seq);
    out[n] = '\0';
    return n;
}

int tc_position_cmp(struct tc_position a, struct tc_position b) {
    if (a.attempt != b.attempt)
        return a.attempt < b.attempt ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}
