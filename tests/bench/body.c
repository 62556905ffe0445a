/* Head and chunk framing of an HTTP/1.1 response (RFC 9112, 7.1). Stricter than a client must be: no chunk extensions
 * and no trailers, because the broker sends none and a stray byte there would be a framing fault. One thread. */
#include "body.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SIZE_DIGITS 8

void body_fini(struct body *b) {
    free(b->head);
    b->head = NULL;
}

static void read_head(struct body *b) {
    b->head[b->head_len] = '\0';
    if (b->head_len < 13 || strncmp(b->head, "HTTP/1.1 ", 9) != 0) {
        b->state = BODY_BAD;
        return;
    }
    b->status = (int)strtol(b->head + 9, NULL, 10);
    b->state = strcasestr(b->head, "\r\ntransfer-encoding: chunked\r\n") != NULL ? BODY_SIZE : BODY_PLAIN;
    body_fini(b);
}

static size_t feed_head(struct body *b, const char *p, size_t n) {
    if (b->head == NULL && (b->head = malloc(BODY_MAX_HEAD + 1)) == NULL) {
        b->state = BODY_BAD;
        return n;
    }
    for (size_t i = 0; i < n; i++) {
        if (b->head_len == BODY_MAX_HEAD) {
            b->state = BODY_BAD;
            return n;
        }
        b->head[b->head_len++] = p[i];
        if (b->head_len >= 4 && memcmp(b->head + b->head_len - 4, "\r\n\r\n", 4) == 0) {
            read_head(b);
            return i + 1;
        }
    }
    return n;
}

static enum body_state feed_size(struct body *b, char ch) {
    if (ch == '\r' && b->digits > 0)
        return BODY_SIZE_LF;
    int digit = ch >= '0' && ch <= '9'   ? ch - '0'
                : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                         : -1;
    if (digit < 0 || ++b->digits > MAX_SIZE_DIGITS)
        return BODY_BAD;
    b->left = b->left * 16 + (uint64_t)digit;
    return BODY_SIZE;
}

/* The bytes of the framing, one at a time. */
static enum body_state feed_frame(struct body *b, char ch) {
    switch (b->state) {
    case BODY_SIZE:
        return feed_size(b, ch);
    case BODY_SIZE_LF:
        b->digits = 0;
        return ch != '\n' ? BODY_BAD : b->left > 0 ? BODY_DATA : BODY_LAST_CR;
    case BODY_DATA_CR:
        return ch == '\r' ? BODY_DATA_LF : BODY_BAD;
    case BODY_DATA_LF:
        return ch == '\n' ? BODY_SIZE : BODY_BAD;
    case BODY_LAST_CR:
        return ch == '\r' ? BODY_LAST_LF : BODY_BAD;
    case BODY_LAST_LF:
        return ch == '\n' ? BODY_ENDED : BODY_BAD;
    default: /* a byte after the end */
        return BODY_BAD;
    }
}

static size_t feed_data(struct body *b, const char *p, size_t n, body_sink sink, void *arg) {
    size_t run = n < b->left ? n : (size_t)b->left;
    sink(arg, p, run);
    b->left -= run;
    if (b->left == 0)
        b->state = BODY_DATA_CR;
    return run;
}

void body_feed(struct body *b, const char *p, size_t n, body_sink sink, void *arg) {
    while (n > 0 && b->state != BODY_BAD) {
        size_t used = 1;
        if (b->state == BODY_HEAD) {
            used = feed_head(b, p, n);
        } else if (b->state == BODY_DATA) {
            used = feed_data(b, p, n, sink, arg);
        } else if (b->state == BODY_PLAIN) {
            sink(arg, p, n);
            used = n;
        } else {
            b->state = feed_frame(b, *p);
        }
        p += used;
        n -= used;
    }
}
