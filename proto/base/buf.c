/* A growable byte buffer; see buf.h. Owned and used by one thread. */
#include "base/buf.h"

#include "base/digits.h"

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define FIRST_CAP 64

void tc_buf_init(struct tc_buf *b, size_t max) {
    *b = (struct tc_buf){.max = max};
}

void tc_buf_fini(struct tc_buf *b) {
    free(b->data);
    *b = (struct tc_buf){0};
}

void tc_buf_reset(struct tc_buf *b) {
    b->len = 0;
    b->failed = false;
}

/* Doubles until `need` bytes fit, so that n appends cost O(n). */
static bool grow(struct tc_buf *b, size_t need) {
    size_t cap = b->cap ? b->cap : FIRST_CAP;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    char *data = realloc(b->data, cap);
    if (data == NULL)
        return false;
    b->data = data;
    b->cap = cap;
    return true;
}

char *tc_buf_grow(struct tc_buf *b, size_t n) {
    if (b->failed)
        return NULL;
    if (n > SIZE_MAX - b->len || (b->max != 0 && b->len + n > b->max)) {
        b->failed = true;
        return NULL;
    }
    /* Never NULL on success, also for n = 0 in a fresh buffer. */
    if ((b->len + n > b->cap || b->data == NULL) && !grow(b, b->len + n)) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->len;
}

void tc_buf_put_u64(struct tc_buf *b, uint64_t v) {
    char digits[TC_DIGITS_MAX];
    tc_buf_append(b, digits, tc_digits(digits, v));
}

void tc_buf_put_i64(struct tc_buf *b, int64_t v) {
    if (v < 0)
        tc_buf_putc(b, '-');
    tc_buf_put_u64(b, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void tc_buf_put_double(struct tc_buf *b, double d) {
    char text[40];
    int n = 0;
    for (int precision = 6; precision <= 17; precision += precision == 6 ? 9 : 1) {
        n = snprintf(text, sizeof(text), "%.*g", precision, d);
        if (isnan(d) || strtod(text, NULL) == d)
            break;
    }
    tc_buf_append(b, text, (size_t)n);
}

void tc_buf_printf(struct tc_buf *b, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    /* vsnprintf ends with a NUL: room for it must not count against the bound. */
    if (b->failed || n < 0 || tc_buf_reserve(b, (size_t)n) == NULL ||
        (b->len + (size_t)n == b->cap && !grow(b, b->cap + 1))) {
        b->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(b->data + b->len, (size_t)n + 1, fmt, args);
    va_end(args);
    b->len += (size_t)n;
}

void tc_buf_consume(struct tc_buf *b, size_t n) {
    assert(n <= b->len);
    b->len -= n;
    if (n != 0 && b->len != 0)
        memmove(b->data, b->data + n, b->len);
}

char *tc_buf_take_cstr(struct tc_buf *b) {
    char *data = NULL;
    if (!b->failed && (b->len < b->cap || grow(b, b->len + 1))) {
        data = b->data;
        data[b->len] = '\0';
    } else {
        free(b->data);
    }
    tc_buf_init(b, b->max);
    return data;
}
