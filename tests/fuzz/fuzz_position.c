/* Positions from `?after=` and `Last-Event-ID`: what parses is written back as the same text. Names go along. */
#include "base/utf8.h"
#include "tokencast/error.h"
#include "tokencast/position.h"
#include "wire/keys.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

/* Lengths and offsets of any bytes fit together. */
static void lengths(struct tc_str s) {
    uint64_t units = tc_utf16_len(s);
    size_t whole = tc_utf8_complete(s);
    must(whole <= s.n && s.n - whole <= 3);
    must(tc_utf16_to_byte(s, units) == s.n && tc_utf16_to_byte(s, 0) == 0);
    for (uint64_t u = 0, last = 0; u <= units && u < 64; u++) {
        size_t byte = tc_utf16_to_byte(s, u);
        must(byte >= last && byte <= s.n);
        last = byte;
    }
    if (tc_utf8_valid(s))
        must(whole == s.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_str s = {(const char *)data, size};
    struct tc_position p;
    char text[TC_POSITION_MAX];
    int err = tc_position_parse(s.p, s.n, &p);
    must(err == 0 || err == TC_ESYNTAX);
    if (err == 0) {
        must(tc_position_format(p, text) == size && memcmp(text, data, size) == 0);
        must(tc_position_cmp(p, p) == 0);
    }
    must(!tc_id_valid(s) || size <= TC_ID_MAX);
    must(!tc_prefix_valid(s) || size <= TC_PREFIX_MAX);
    lengths(s);
    return 0;
}
