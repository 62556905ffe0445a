/* Decoder of the chunked transfer coding (RFC 9112, 7.1). Pure; stricter than the RFC asks where leniency has been used
 * to smuggle requests past proxies: no white space in the size line, no bare LF, at most eight digits. */
#ifndef BROKER_HTTP_CHUNKED_H
#define BROKER_HTTP_CHUNKED_H

#include "base/attr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum chunked_state {
    CHUNKED_SIZE = 0,
    CHUNKED_EXTENSION,
    CHUNKED_SIZE_LF,
    CHUNKED_DATA,
    CHUNKED_DATA_CR,
    CHUNKED_DATA_LF,
    CHUNKED_TRAILER_START,
    CHUNKED_TRAILER,
    CHUNKED_TRAILER_LF,
    CHUNKED_LAST_LF,
    CHUNKED_DONE
};

struct chunked {
    enum chunked_state state;
    uint32_t left;   /* bytes of this chunk still to come; while reading its size: the size so far */
    unsigned digits; /* of the size line */
    size_t spare;    /* bytes that extensions and trailers may still take, over the whole body */
};

/* `spare` bounds what extensions and trailers take together; both are thrown away. */
void chunked_init(struct chunked *c, size_t spare);

/* Takes bytes from in[0..n) until the body ends and moves the payload to `out`, which may be `in` or lie before it in
 * the same memory. *taken: bytes consumed; *written: payload bytes, at most `room`. Returns 1 when the body is whole, 0
 * for more, TC_ESYNTAX, or TC_ETOOLARGE (room or spare used up). */
TC_MUST_USE int chunked_feed(struct chunked *c, const char *in, size_t n, size_t *taken, char *out, size_t room,
                             size_t *written);

#endif
