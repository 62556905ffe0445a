/* Published messages in bytes (see push.h). Pure functions. */
#define _GNU_SOURCE /* memmem() */
#include "redis/push.h"

#include "redis/reader.h"

#include <stdbool.h>
#include <string.h>

struct cursor {
    const char *p;
    size_t n, at; /* may pass n: so many are needed at least */
};

/* The bytes of `text` as far as they are there. A known length makes it one comparison. */
static inline bool skip(struct cursor *c, const char *text, size_t len) {
    size_t left = c->n - c->at;
    if (left < len ? memcmp(c->p + c->at, text, left) != 0 : memcmp(c->p + c->at, text, len) != 0)
        return false;
    c->at += len;
    return true;
}

#define SKIP(c, literal) skip((c), (literal), sizeof(literal) - 1)

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* `$<length>\r\n`. */
static enum tc_push_found skip_length(struct cursor *c, size_t *length) {
    *length = 0;
    if (!SKIP(c, "$"))
        return TC_PUSH_OTHER;
    size_t first = c->at;
    for (; c->at < c->n && is_digit(c->p[c->at]); c->at++) {
        *length = *length * 10 + (size_t)(c->p[c->at] - '0');
        if (*length > TC_READER_MAX_BYTES)
            return TC_PUSH_OTHER;
    }
    if (c->at >= c->n) {
        c->at = c->n + 1;
        return TC_PUSH_PART;
    }
    bool padded = c->p[first] == '0' && c->at > first + 1;
    if (c->at == first || padded || !SKIP(c, "\r\n"))
        return TC_PUSH_OTHER;
    return c->at > c->n ? TC_PUSH_PART : TC_PUSH_WHOLE;
}

static enum tc_push_found skip_bulk(struct cursor *c, struct tc_str *out) {
    size_t length;
    enum tc_push_found found = skip_length(c, &length);
    if (found != TC_PUSH_WHOLE)
        return found;
    *out = (struct tc_str){c->p + c->at, length};
    c->at += length;
    if (c->at >= c->n) {
        c->at += 2;
        return TC_PUSH_PART;
    }
    if (!SKIP(c, "\r\n"))
        return TC_PUSH_OTHER;
    return c->at > c->n ? TC_PUSH_PART : TC_PUSH_WHOLE;
}

enum tc_push_found tc_push_scan(const char *p, size_t n, struct tc_push *out) {
    struct cursor c = {p, n, 0};
    out->size = n + 1; /* what is not a message may be whole with the next byte */
    if (!SKIP(&c, "*3\r\n$7\r\nmessage\r\n") && !SKIP(&c, "*3\r\n$8\r\nsmessage\r\n"))
        return TC_PUSH_OTHER;
    if (c.at >= n)
        return TC_PUSH_PART;
    enum tc_push_found found = skip_bulk(&c, &out->channel);
    if (found == TC_PUSH_WHOLE && c.at == n)
        return TC_PUSH_PART;
    if (found == TC_PUSH_WHOLE)
        found = skip_bulk(&c, &out->payload);
    out->size = c.at;
    return found;
}

size_t tc_push_seek(const char *p, size_t n) {
    static const char head[] = "*3\r\n$";
    const char *found = n > 1 ? memmem(p + 1, n - 1, head, sizeof(head) - 1) : NULL;
    return found ? (size_t)(found - p) : n;
}
