/* Base64url without padding (RFC 4648, section 5). Pure functions. */
#include "base/base64.h"

#include <stdint.h>

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t tc_base64url(char *out, const void *bytes, size_t n) {
    const unsigned char *in = bytes;
    uint32_t bits = 0;
    unsigned held = 0; /* bits not yet written */
    size_t len = 0;
    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | in[i];
        held += 8;
        while (held >= 6) {
            held -= 6;
            out[len++] = alphabet[bits >> held & 63];
        }
    }
    if (held > 0)
        out[len++] = alphabet[bits << (6 - held) & 63];
    return len;
}
