/* UTF-8 by RFC 3629 (no surrogates, no overlong forms, at most U+10FFFF) and lengths in UTF-16 code units, which
 * is what a JavaScript string counts and what `offset` in events is measured in. Pure functions. */
#ifndef TC_BASE_UTF8_H
#define TC_BASE_UTF8_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

bool tc_utf8_valid(struct tc_str s);

/* Bytes (1 to 4) of the well-formed character that s begins with; 0 if it begins with none. */
size_t tc_utf8_char(struct tc_str s);

/* Length of the longest prefix that does not end inside a character: s.n, or up to 3 less. The bytes before the
 * tail are not checked; a tail that can never become a character is not held back. */
size_t tc_utf8_complete(struct tc_str s);

/* Length in UTF-16 code units. Each byte of an ill-formed sequence counts as one unit (as U+FFFD would). */
uint64_t tc_utf16_len(struct tc_str s);

/* Byte offset of the UTF-16 offset `units` in s; s.n if it lies at or beyond the end. An offset inside a surrogate
 * pair gives the start of that character. */
size_t tc_utf16_to_byte(struct tc_str s, uint64_t units);

#endif
