/* Short replies (see plain.h). Whatever is not exactly what Redis writes is left to hiredis. */
#include "redis/plain.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define DIGITS_MAX 18 /* no number of so many is too large for an int64_t */

/* The digits at p, as Redis writes a number: no zeros before it. Returns how many; 0: there is no such number. */
static size_t read_digits(const char *p, size_t n, int64_t *out) {
    size_t i = 0;
    *out = 0;
    for (; i < n && i < DIGITS_MAX && p[i] >= '0' && p[i] <= '9'; i++)
        *out = *out * 10 + (p[i] - '0');
    return i > 1 && p[0] == '0' ? 0 : i;
}

static bool ends_line(const char *p, size_t n, size_t at) {
    return n >= at + 2 && p[at] == '\r' && p[at + 1] == '\n';
}

static void set_text(struct tc_plain *out, int type, const char *p, size_t n) {
    memcpy(out->text, p, n);
    out->text[n] = '\0';
    out->reply = (redisReply){.type = type, .str = out->text, .len = n};
}

static size_t scan_integer(const char *p, size_t n, struct tc_plain *out) {
    int64_t value;
    size_t digits = read_digits(p + 1, n - 1, &value);
    if (digits == 0 || !ends_line(p, n, 1 + digits))
        return 0;
    out->reply = (redisReply){.type = REDIS_REPLY_INTEGER, .integer = value};
    return 1 + digits + 2;
}

static size_t scan_status(const char *p, size_t n, struct tc_plain *out) {
    size_t most = n - 1 < TC_PLAIN_MAX + 1 ? n - 1 : TC_PLAIN_MAX + 1;
    const char *end = memchr(p + 1, '\r', most);
    if (end == NULL || !ends_line(p, n, (size_t)(end - p)) || memchr(p + 1, '\n', (size_t)(end - p) - 1) != NULL)
        return 0;
    set_text(out, REDIS_REPLY_STATUS, p + 1, (size_t)(end - p) - 1);
    return (size_t)(end - p) + 2;
}

static size_t scan_string(const char *p, size_t n, struct tc_plain *out) {
    int64_t length;
    size_t digits = read_digits(p + 1, n - 1, &length);
    if (digits == 0 || !ends_line(p, n, 1 + digits) || length > TC_PLAIN_MAX)
        return 0;
    size_t from = 1 + digits + 2;
    if (!ends_line(p, n, from + (size_t)length))
        return 0;
    set_text(out, REDIS_REPLY_STRING, p + from, (size_t)length);
    return from + (size_t)length + 2;
}

size_t tc_plain_scan(const char *p, size_t n, struct tc_plain *out) {
    switch (*p) {
    case ':':
        return scan_integer(p, n, out);
    case '+':
        return scan_status(p, n, out);
    case '$':
        return scan_string(p, n, out);
    default:
        return 0;
    }
}
