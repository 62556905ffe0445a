/* See sse.h. A line that lies whole in the input is parsed where it lies; only a cut line is copied. */
#include "provider/sse.h"

#include "tokencast/error.h"

#include <string.h>

void sse_init(struct sse *s, sse_event_cb cb, void *arg) {
    memset(s, 0, sizeof(*s));
    s->cb = cb;
    s->arg = arg;
    tc_buf_init(&s->line, SSE_LINE_MAX);
    tc_buf_init(&s->data, SSE_EVENT_MAX);
}

void sse_fini(struct sse *s) {
    tc_buf_fini(&s->line);
    tc_buf_fini(&s->data);
}

void sse_reset(struct sse *s) {
    tc_buf_reset(&s->line);
    tc_buf_reset(&s->data);
    s->name_len = 0;
    s->has_data = s->after_cr = s->first_done = false;
}

/* A blank line ends an event. Without data nothing is dispatched, but the name is forgotten. */
static bool dispatch(struct sse *s) {
    struct tc_str name = {s->name, s->name_len};
    struct tc_str data = {s->data.data ? s->data.data : "", s->data.len};
    bool had_data = s->has_data, more = true;

    if (had_data)
        more = s->cb(s->arg, name, data);
    tc_buf_reset(&s->data);
    s->name_len = 0;
    s->has_data = false;
    return more;
}

static void take_field(struct sse *s, struct tc_str field, struct tc_str value) {
    if (tc_str_is(field, "data")) {
        if (s->has_data)
            tc_buf_putc(&s->data, '\n');
        tc_buf_put_str(&s->data, value);
        s->has_data = true;
    } else if (tc_str_is(field, "event")) {
        s->name_len = value.n < SSE_NAME_MAX ? value.n : 0;
        if (s->name_len > 0)
            memcpy(s->name, value.p, s->name_len);
    }
    /* `id` and `retry` serve reconnection, which no model server offers. */
}

/* One line without its end. False: stop here. */
static bool take_line(struct sse *s, struct tc_str line) {
    if (!s->first_done) {
        s->first_done = true;
        if (line.n >= 3 && memcmp(line.p, "\xef\xbb\xbf", 3) == 0)
            line = (struct tc_str){line.p + 3, line.n - 3};
    }
    if (line.n == 0)
        return dispatch(s);

    const char *colon = memchr(line.p, ':', line.n);
    if (colon == line.p)
        return true; /* a comment: somebody's heartbeat */
    if (!colon) {
        take_field(s, line, (struct tc_str){"", 0});
        return true;
    }
    struct tc_str value = {colon + 1, (size_t)(line.p + line.n - colon - 1)};
    if (value.n > 0 && *value.p == ' ')
        value = (struct tc_str){value.p + 1, value.n - 1};
    take_field(s, (struct tc_str){line.p, (size_t)(colon - line.p)}, value);
    return true;
}

/* A line has ended: joins it with what came of it earlier. */
static bool end_line(struct sse *s, struct tc_str tail) {
    if (s->line.len == 0 && tc_buf_ok(&s->line))
        return take_line(s, tail);
    tc_buf_put_str(&s->line, tail);
    if (!tc_buf_ok(&s->line))
        return false;
    bool more = take_line(s, tc_buf_str(&s->line));
    tc_buf_reset(&s->line);
    return more;
}

/* The first CR or LF in the range, or its end. */
static const char *find_end(const char *p, const char *end) {
    const char *lf = memchr(p, '\n', (size_t)(end - p));
    const char *cr = memchr(p, '\r', (size_t)((lf ? lf : end) - p));
    return cr ? cr : lf ? lf : end;
}

int sse_feed(struct sse *s, struct tc_str bytes, size_t *consumed) {
    const char *p = bytes.p, *end = bytes.p + bytes.n;
    bool more = true;

    while (more && p < end) {
        if (s->after_cr) {
            s->after_cr = false;
            if (*p == '\n') {
                p++;
                continue;
            }
        }
        const char *stop = find_end(p, end);
        struct tc_str part = {p, (size_t)(stop - p)};
        if (part.n > SSE_LINE_MAX)
            return TC_ETOOLARGE;
        if (stop == end) {
            tc_buf_put_str(&s->line, part);
            p = end;
        } else {
            s->after_cr = *stop == '\r';
            p = stop + 1;
            more = end_line(s, part);
        }
        if (!tc_buf_ok(&s->line) || !tc_buf_ok(&s->data))
            return TC_ETOOLARGE;
    }
    *consumed = (size_t)(p - bytes.p);
    return 0;
}

void sse_finish(struct sse *s) {
    if (s->line.len == 0)
        dispatch(s);
}
