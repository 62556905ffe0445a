/* See pieces.h. */
#include "provider/pieces.h"

#include "base/utf8.h"

#include <stdbool.h>

/* Scripts without spaces get a piece for every so many characters outside ASCII. */
#define WIDE_MAX 12

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

size_t piece_len(struct tc_str text) {
    size_t i = 0, wide = 0;

    while (i < text.n && i < PIECE_MAX && is_space(text.p[i]))
        i++;
    while (i < text.n && !is_space(text.p[i])) {
        size_t n = tc_utf8_char((struct tc_str){text.p + i, text.n - i});
        n = n > 0 ? n : 1;
        if (i > 0 && (i + n > PIECE_MAX || wide >= WIDE_MAX))
            break;
        wide += n > 1 ? 1 : 0;
        i += n;
    }
    return i;
}

uint64_t piece_count(struct tc_str text) {
    uint64_t count = 0;

    while (text.n > 0) {
        size_t n = piece_len(text);
        text = (struct tc_str){text.p + n, text.n - n};
        count++;
    }
    return count;
}
