/* A position in a generation's log: the Redis stream entry id `<attempt>-<seq>`, the SSE `id:`, the `?after=`.
 * Ordered by attempt, then seq. `0-0` stands before everything. Pure functions. */
#ifndef TOKENCAST_POSITION_H
#define TOKENCAST_POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tc_position {
    uint64_t attempt; /* one worker's try; rises with every takeover */
    uint64_t seq;     /* contiguous over the whole life of the generation; 0 is a fence */
};

#define TC_POSITION_MAX 42 /* bytes of the longest text form with its NUL: 20 + 1 + 20 + 1 */

/* Exactly `digits-digits`, no sign, no space, no leading zeros (but "0"), each below 2^64. 0 or TC_ESYNTAX. */
int tc_position_parse(const char *text, size_t len, struct tc_position *out) __attribute__((warn_unused_result));

/* Writes the text form with its NUL into out[TC_POSITION_MAX]; returns its length. */
size_t tc_position_format(struct tc_position p, char *out);

/* <0, 0, >0 as a comes before, equals, comes after b. */
int tc_position_cmp(struct tc_position a, struct tc_position b);

#endif
