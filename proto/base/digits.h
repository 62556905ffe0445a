/* Numbers as decimal text. Pure functions. */
#ifndef TC_BASE_DIGITS_H
#define TC_BASE_DIGITS_H

#include <stddef.h>
#include <stdint.h>

#define TC_DIGITS_MAX 20 /* of 2^64 - 1 */

/* Writes v without a terminator; returns how many digits, 1 to TC_DIGITS_MAX. */
size_t tc_digits(char *to, uint64_t v);

#endif
