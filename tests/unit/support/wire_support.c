/* What the tests of proto/base and proto/wire share. */
#include "wire_support.h"

#include <stdlib.h>

void wire_assert_str(struct tc_str got, struct tc_str want, const char *file, int line) {
    if (tc_str_eq(got, want))
        return;
    print_error("got:  %.*s\nwant: %.*s\n", (int)got.n, got.n ? got.p : "", (int)want.n, want.n ? want.p : "");
    _fail(file, line);
}

void wire_hex(struct tc_buf *out, const char *hex) {
    char *end;
    for (; *hex != '\0'; hex = end) {
        unsigned long byte = strtoul(hex, &end, 16);
        assert_true(end != hex && byte < 256);
        tc_buf_putc(out, (char)byte);
        while (*end == ' ')
            end++;
    }
}
