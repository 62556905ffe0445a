/* What the tests of proto/base and proto/wire share. */
#include "wire_support.h"

#include "tokencast/error.h"
#include "tokencast/event.h"

#include <stdlib.h>
#include <string.h>

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

void wire_assert_cut_is_refused(const struct tc_buf *event) {
    struct tc_event ev;
    for (size_t n = 0; n < event->len; n++) {
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, event->data, n);
        assert_int_equal(tc_event_decode(copy, n, &ev), TC_ESYNTAX);
        free(copy);
    }
}
