/* Base64url without padding (RFC 4648, section 5). Pure functions. */
#ifndef TC_BASE_BASE64_H
#define TC_BASE_BASE64_H

#include <stddef.h>

#define TC_BASE64_LEN(n) (((n) / 3) * 4 + ((n) % 3 ? (n) % 3 + 1 : 0)) /* characters for n bytes */

/* Writes TC_BASE64_LEN(n) characters, no NUL; returns their number. */
size_t tc_base64url(char *out, const void *bytes, size_t n);

#endif
