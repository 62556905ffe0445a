/* Decoder of the chunked transfer coding: a byte at a time in the lines, a run at a time in the data. Pure. */
#include "http/chunked.h"

#include <string.h>
#include <tokencast/error.h>

void chunked_init(struct chunked *c, size_t spare) {
    *c = (struct chunked){.spare = spare};
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_control(char ch) {
    unsigned char c = (unsigned char)ch;
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

static int to(struct chunked *c, enum chunked_state state) {
    c->state = state;
    return 0;
}

static int take_size(struct chunked *c, char ch) {
    int v = hex_value(ch);
    if (v >= 0) {
        if (++c->digits > 8)
            return TC_ESYNTAX;
        c->left = c->left << 4 | (uint32_t)v;
        return 0;
    }
    if (c->digits == 0)
        return TC_ESYNTAX;
    if (ch == '\r')
        return to(c, CHUNKED_SIZE_LF);
    return ch == ';' ? to(c, CHUNKED_EXTENSION) : TC_ESYNTAX;
}

/* Extensions and trailer fields have no meaning here; they are only bounded and kept free of control characters. */
static int take_ignored(struct chunked *c, char ch, enum chunked_state after) {
    if (ch == '\r')
        return to(c, after);
    if (is_control(ch))
        return TC_ESYNTAX;
    if (c->spare == 0)
        return TC_ETOOLARGE;
    c->spare--;
    return 0;
}

static int take_line_byte(struct chunked *c, char ch) {
    switch (c->state) {
    case CHUNKED_SIZE:
        return take_size(c, ch);
    case CHUNKED_EXTENSION:
        return take_ignored(c, ch, CHUNKED_SIZE_LF);
    case CHUNKED_SIZE_LF:
        c->digits = 0;
        return ch != '\n' ? TC_ESYNTAX : to(c, c->left > 0 ? CHUNKED_DATA : CHUNKED_TRAILER_START);
    case CHUNKED_DATA_CR:
        return ch != '\r' ? TC_ESYNTAX : to(c, CHUNKED_DATA_LF);
    case CHUNKED_DATA_LF:
        return ch != '\n' ? TC_ESYNTAX : to(c, CHUNKED_SIZE);
    case CHUNKED_TRAILER_START:
        if (ch == '\r')
            return to(c, CHUNKED_LAST_LF);
        c->state = CHUNKED_TRAILER;
        return take_ignored(c, ch, CHUNKED_TRAILER_LF);
    case CHUNKED_TRAILER:
        return take_ignored(c, ch, CHUNKED_TRAILER_LF);
    case CHUNKED_TRAILER_LF:
        return ch != '\n' ? TC_ESYNTAX : to(c, CHUNKED_TRAILER_START);
    case CHUNKED_LAST_LF:
        return ch != '\n' ? TC_ESYNTAX : to(c, CHUNKED_DONE);
    case CHUNKED_DATA:
    case CHUNKED_DONE:
        break;
    }
    return TC_ESYNTAX;
}

int chunked_feed(struct chunked *c, const char *in, size_t n, size_t *taken, char *out, size_t room, size_t *written) {
    size_t i = 0;
    *written = 0;
    while (i < n && c->state != CHUNKED_DONE) {
        if (c->state == CHUNKED_DATA) {
            size_t run = n - i < c->left ? n - i : c->left;
            if (run > room - *written)
                return TC_ETOOLARGE;
            memmove(out + *written, in + i, run);
            *written += run;
            i += run;
            c->left -= (uint32_t)run;
            if (c->left == 0)
                c->state = CHUNKED_DATA_CR;
            continue;
        }
        int rc = take_line_byte(c, in[i++]);
        if (rc < 0)
            return rc;
        /* Refused as soon as it is announced, not after the peer has sent it. */
        if (c->state == CHUNKED_DATA && c->left > room - *written)
            return TC_ETOOLARGE;
    }
    *taken = i;
    return c->state == CHUNKED_DONE;
}
