/* Events for the feed's tests, encoded as a worker would. */
#ifndef FEED_EVENTS_H
#define FEED_EVENTS_H

#include "base/buf.h"
#include "dialect/dialect.h"
#include "tokencast/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct made_event { /* ev borrows from raw */
    struct tc_event ev;
    struct tc_buf raw;
    char id[TC_POSITION_MAX];
};

static inline struct tc_position at(uint64_t attempt, uint64_t seq) {
    return (struct tc_position){attempt, seq};
}

static inline void make_event(struct made_event *m, const struct tc_event *from) {
    *m = (struct made_event){0};
    tc_event_encode(&m->raw, from);
    assert_true(tc_buf_ok(&m->raw));
    assert_int_equal(tc_event_decode(m->raw.data, m->raw.len, &m->ev), 0);
}

static inline void make_delta(struct made_event *m, uint64_t offset, const char *text) {
    make_event(m, &(struct tc_event){.type = TC_EV_DELTA, .offset = offset, .text = tc_str_from(text)});
}

static inline struct dialect_event in_dialect(struct made_event *m, struct tc_position pos) {
    size_t n = tc_position_format(pos, m->id);
    return (struct dialect_event){.id = {m->id, n}, .ev = &m->ev, .raw = tc_buf_str(&m->raw)};
}

static inline void drop_event(struct made_event *m) {
    tc_buf_fini(&m->raw);
}

static inline void assert_bytes(struct tc_str got, const char *want) {
    if (!tc_str_is(got, want))
        print_error("got  %.*s\nwant %s\n", (int)got.n, got.p ? got.p : "", want);
    assert_true(tc_str_is(got, want));
}

/* Removes strict HTTP/1.1 chunk framing; *last: the last chunk was there, and nothing behind it. The body has a NUL
 * after its end. */
static inline struct tc_buf dechunk(struct tc_str in, bool *last) {
    struct tc_buf out = {0};
    *last = false;
    for (size_t i = 0; i < in.n;) {
        size_t n = 0, digits = 0;
        assert_false(*last);
        for (; i < in.n && in.p[i] != '\r'; i++, digits++) {
            char c = in.p[i];
            assert_true((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
            n = n * 16 + (size_t)(c <= '9' ? c - '0' : c - 'a' + 10);
        }
        assert_true(digits > 0 && digits <= 8 && i + 2 + n + 2 <= in.n);
        assert_memory_equal(in.p + i, "\r\n", 2);
        tc_buf_append(&out, in.p + i + 2, n);
        assert_memory_equal(in.p + i + 2 + n, "\r\n", 2);
        i += n + 4;
        *last = n == 0;
    }
    tc_buf_putc(&out, '\0');
    out.len--;
    return out;
}

#endif
