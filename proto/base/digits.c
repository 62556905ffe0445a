/* Numbers as decimal text, two digits a step; see digits.h. Pure functions. */
#include "base/digits.h"

#include <string.h>

static const char pairs[] = "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
                            "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
                            "8081828384858687888990919293949596979899";

static size_t count(uint64_t v) {
    size_t n = 1;
    for (; v >= 10000; v /= 10000)
        n += 4;
    return n + (v >= 10) + (v >= 100) + (v >= 1000);
}

size_t tc_digits(char *to, uint64_t v) {
    size_t n = count(v), at = n;
    for (; v >= 100; v /= 100)
        memcpy(to + (at -= 2), pairs + v % 100 * 2, 2);
    if (v >= 10)
        memcpy(to, pairs + v * 2, 2);
    else
        *to = (char)('0' + v);
    return n;
}
