/* A reply that is one short value, as it lies in the bytes from Redis: an integer, a status, a string such as the id
 * that XADD gives. It is most of what a worker hears, and is taken without a tree. Pure. */
#ifndef TC_REDIS_PLAIN_H
#define TC_REDIS_PLAIN_H

#include <hiredis/hiredis.h>
#include <stddef.h>

#define TC_PLAIN_MAX 64 /* bytes of a string or status */

struct tc_plain {
    redisReply reply;            /* points to the text below: must not be moved */
    char text[TC_PLAIN_MAX + 1]; /* terminated, as hiredis does */
};

/* Reads the reply that begins at p, of n > 0 bytes, as hiredis would. Returns how many bytes it takes; 0: it is
 * something else, malformed, or not all there. */
size_t tc_plain_scan(const char *p, size_t n, struct tc_plain *out);

#endif
