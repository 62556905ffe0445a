/* Positions: parsing, formatting, order. Pure functions. */
#include "tokencast/position.h"

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

static size_t format_u64(uint64_t v, char *out) {
    char digits[20];
    size_t n = 0;
    do
        digits[n++] = (char)('0' + v % 10);
    while ((v /= 10) != 0);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

size_t tc_position_format(struct tc_position p, char *out) {
    size_t n = format_u64(p.attempt, out);
    out[n++] = '-';
    n += format_u64(p.seq, out + n);
    out[n] = '\0';
    return n;
}

int tc_position_cmp(struct tc_position a, struct tc_position b) {
    if (a.attempt != b.attempt)
        return a.attempt < b.attempt ? -1 : 1;
    return (a.seq > b.seq) - (a.seq < b.seq);
}
