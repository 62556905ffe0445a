/* Decoding one parameter of a query string (application/x-www-form-urlencoded: '+' is a space). Pure. */
#include "http/http.h"

#include <tokencast/error.h>

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* The next decoded byte of s from *at on; TC_ESYNTAX for a broken %XX or an encoded NUL, which C text cannot hold. */
static int next_byte(struct tc_str s, size_t *at) {
    unsigned char c = (unsigned char)s.p[(*at)++];
    if (c == '+')
        return ' ';
    if (c != '%')
        return c ? c : TC_ESYNTAX;
    if (s.n - *at < 2)
        return TC_ESYNTAX;
    int high = hex_value(s.p[*at]), low = hex_value(s.p[*at + 1]);
    *at += 2;
    if (high < 0 || low < 0 || (high == 0 && low == 0))
        return TC_ESYNTAX;
    return high << 4 | low;
}

static bool name_is(struct tc_str encoded, const char *name) {
    size_t at = 0;
    while (at < encoded.n) {
        int c = next_byte(encoded, &at);
        if (c < 0 || *name == '\0' || (unsigned char)*name != (unsigned)c)
            return false;
        name++;
    }
    return *name == '\0';
}

static int decode(struct tc_str encoded, char *out, size_t out_size) {
    size_t n = 0, at = 0;
    while (at < encoded.n) {
        int c = next_byte(encoded, &at);
        if (c < 0)
            return c;
        if (n + 1 >= out_size)
            return TC_ETOOLARGE;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return (int)n;
}

/* The text of `s` up to `mark`, which is dropped from s along with it. */
static struct tc_str cut(struct tc_str *s, char mark) {
    const char *p = s->n ? memchr(s->p, mark, s->n) : NULL;
    struct tc_str part = {s->p, p ? (size_t)(p - s->p) : s->n};
    *s = p ? (struct tc_str){p + 1, s->n - part.n - 1} : (struct tc_str){NULL, 0};
    return part;
}

int http_query(struct tc_str query, const char *name, char *out, size_t out_size) {
    if (out_size == 0)
        return TC_ETOOLARGE;
    out[0] = '\0';
    while (query.n > 0) {
        struct tc_str value = cut(&query, '&');
        struct tc_str key = cut(&value, '=');
        if (!name_is(key, name))
            continue;
        int rc = decode(value, out, out_size);
        if (rc < 0)
            out[0] = '\0';
        return rc;
    }
    return TC_ENOTFOUND;
}
