/* A borrowed run of bytes: pointer and length, not terminated, may hold NUL. Owns nothing. */
#ifndef TC_BASE_STR_H
#define TC_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct tc_str {
    const char *p; /* borrowed; may be NULL when n is 0 */
    size_t n;      /* bytes */
};

#define TC_STR(literal) ((struct tc_str){(literal), sizeof(literal) - 1})

static inline struct tc_str tc_str_from(const char *s) {
    return (struct tc_str){s, s ? strlen(s) : 0};
}

static inline bool tc_str_eq(struct tc_str a, struct tc_str b) {
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool tc_str_is(struct tc_str a, const char *s) {
    return tc_str_eq(a, tc_str_from(s));
}

/* Without the blanks (space, tab) around it, RFC 9110's OWS. */
static inline struct tc_str tc_str_trim(struct tc_str s) {
    while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
        s = (struct tc_str){s.p + 1, s.n - 1};
    while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
        s.n--;
    return s;
}

/* A terminated copy for the caller to free; NULL without memory. */
static inline char *tc_str_dup(struct tc_str s) {
    char *copy = malloc(s.n + 1);
    if (copy == NULL)
        return NULL;
    if (s.n > 0)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return copy;
}

#endif
