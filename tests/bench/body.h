/* An HTTP/1.1 response as it comes in: the head, then the body without its chunk framing. Fed in pieces that may be cut
 * anywhere; the head and the size lines are bounded. One thread. */
#ifndef BENCH_BODY_H
#define BENCH_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BODY_MAX_HEAD 4096

enum body_state {
    BODY_HEAD = 0,
    BODY_SIZE,    /* hexadecimal digits of a chunk's size */
    BODY_SIZE_LF, /* its line feed */
    BODY_DATA,    /* inside a chunk */
    BODY_DATA_CR, /* the line end after it */
    BODY_DATA_LF,
    BODY_LAST_CR, /* the empty line after the chunk of size 0 */
    BODY_LAST_LF,
    BODY_PLAIN, /* not chunked: ends with the connection */
    BODY_ENDED,
    BODY_BAD /* not HTTP, or bytes after the end */
};

struct body { /* zeroed = ready for the first byte */
    enum body_state state;
    int status;      /* of the response; 0 while the head is incomplete */
    unsigned digits; /* of the chunk's size read so far */
    uint64_t left;   /* bytes of the chunk still to come */
    char *head;      /* owned; only while the head is incomplete */
    size_t head_len;
};

typedef void (*body_sink)(void *arg, const char *p, size_t n);

/* Hands on what the body holds; sink is called any number of times. After something that is no HTTP the state is
 * BODY_BAD and the rest is ignored. */
void body_feed(struct body *b, const char *p, size_t n, body_sink sink, void *arg);
void body_fini(struct body *b);

/* The connection may close now without anything missing. */
static inline bool body_whole(const struct body *b) {
    return b->state == BODY_ENDED || b->state == BODY_PLAIN;
}

#endif
