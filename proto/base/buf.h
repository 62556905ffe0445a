/* A growable byte buffer. Appending never reports an error by itself: a failed allocation or a passed bound sets
 * `failed`, later appends do nothing, and the user checks once with tc_buf_ok(). Not thread-safe. */
#ifndef TC_BASE_BUF_H
#define TC_BASE_BUF_H

#include "base/attr.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tc_buf {
    char *data;  /* owned; NULL while empty */
    size_t len;  /* bytes used */
    size_t cap;  /* bytes allocated */
    size_t max;  /* bound on len in bytes; 0 = none */
    bool failed; /* an append did not happen (no memory, or the bound); sticky until tc_buf_reset() */
};

void tc_buf_init(struct tc_buf *b, size_t max);
void tc_buf_fini(struct tc_buf *b);  /* accepts zeroed memory; frees; leaves it zeroed */
void tc_buf_reset(struct tc_buf *b); /* len = 0, failed = false, keeps the memory */

static inline bool tc_buf_ok(const struct tc_buf *b) {
    return !b->failed;
}
static inline struct tc_str tc_buf_str(const struct tc_buf *b) {
    return (struct tc_str){b->data, b->len};
}

char *tc_buf_grow(struct tc_buf *b, size_t n); /* tc_buf_reserve() where the room is not there yet */

/* Room for n more bytes at data+len, NULL on failure; the caller then adds what it wrote to len. */
static inline char *tc_buf_reserve(struct tc_buf *b, size_t n) {
    bool fits = b->data != NULL && n <= b->cap - b->len && (b->max == 0 || b->len + n <= b->max);
    return fits && !b->failed ? b->data + b->len : tc_buf_grow(b, n);
}

static inline void tc_buf_append(struct tc_buf *b, const void *p, size_t n) {
    char *to = n > 0 ? tc_buf_reserve(b, n) : NULL;
    if (to == NULL)
        return;
    memcpy(to, p, n);
    b->len += n;
}

static inline void tc_buf_puts(struct tc_buf *b, const char *s) {
    tc_buf_append(b, s, strlen(s));
}

static inline void tc_buf_putc(struct tc_buf *b, char c) {
    tc_buf_append(b, &c, 1);
}

static inline void tc_buf_put_str(struct tc_buf *b, struct tc_str s) {
    tc_buf_append(b, s.p, s.n);
}

void tc_buf_put_u64(struct tc_buf *b, uint64_t v);
void tc_buf_put_i64(struct tc_buf *b, int64_t v);
void tc_buf_put_double(struct tc_buf *b, double d); /* short text that reads back equal; "nan", "inf", "-inf" */
void tc_buf_printf(struct tc_buf *b, const char *fmt, ...) TC_PRINTF(2, 3);
void tc_buf_consume(struct tc_buf *b, size_t n); /* drops the first n <= len bytes */

/* The content as a NUL-terminated string that the caller frees; the buffer is left empty. NULL if it had failed. */
char *tc_buf_take_cstr(struct tc_buf *b);

#endif
