/* A published message as it lies in the bytes from Redis, in RESP2: `*3 $7 message $n CHANNEL $n PAYLOAD`, in a Cluster
 * with `$8 smessage`. It is most of what a broker hears, and is taken without a copy and without a tree. Pure. */
#ifndef TC_REDIS_PUSH_H
#define TC_REDIS_PUSH_H

#include "base/str.h"

#include <stddef.h>

struct tc_push {
    size_t size;                    /* TC_PUSH_WHOLE: bytes it takes; TC_PUSH_PART: look again with so many, > n */
    struct tc_str channel, payload; /* TC_PUSH_WHOLE: in the bytes that were looked at */
};

enum tc_push_found {
    TC_PUSH_OTHER, /* no message begins here, or one larger than Redis can hold */
    TC_PUSH_PART,  /* as far as it goes */
    TC_PUSH_WHOLE
};
/* What begins at p, of n > 0 bytes? */
enum tc_push_found tc_push_scan(const char *p, size_t n, struct tc_push *out);

/* The first place behind p where a message may begin; n = none. May be a place inside of something else. */
size_t tc_push_seek(const char *p, size_t n);

#endif
