/* Frames: one event in one wire form, with HTTP/1.1 chunk framing (RFC 9112 section 7.1) where it is used. */
#include "feed/track.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_HEAD 10 /* eight hex digits and CRLF: fixed, so that the frame is encoded in place behind it */

bool track_includes(unsigned include, const struct tc_event *ev) {
    switch (ev->type) {
    case TC_EV_DELTA:
        return (include & (ev->kind == TC_KIND_REASONING ? INCLUDE_REASONING : INCLUDE_TEXT)) != 0;
    case TC_EV_TOOL_CALL:
        return (include & INCLUDE_TOOLS) != 0;
    case TC_EV_NOTE:
        return (include & INCLUDE_NOTES) != 0;
    case TC_EV_FENCE:
        return false;
    default:
        return true;
    }
}

static size_t chunk_open(struct tc_buf *out, const struct track_key *key) {
    size_t mark = out->len;
    if (key->chunked)
        tc_buf_append(out, "00000000\r\n", CHUNK_HEAD);
    return mark;
}

static void chunk_close(struct tc_buf *out, const struct track_key *key, size_t mark) {
    if (!key->chunked || !tc_buf_ok(out))
        return;
    size_t body = out->len - mark - CHUNK_HEAD;
    if (body == 0) {
        out->len = mark; /* an empty chunk would end the body */
        return;
    }
    for (int i = 7; i >= 0; i--, body >>= 4)
        out->data[mark + (size_t)i] = "0123456789abcdef"[body & 15];
    tc_buf_append(out, "\r\n", 2);
}

int frame_event(struct tc_buf *out, const struct track_key *key, const struct dialect_event *in) {
    size_t mark = chunk_open(out, key);
    int err = key->dialect->event(out, in);
    if (err != 0) {
        out->len = mark;
        return err;
    }
    chunk_close(out, key, mark);
    return 0;
}

int frame_news(struct tc_buf *out, const struct track_key *key, struct said *said, const struct dialect_event *in) {
    if (!key->dialect->append_only)
        return frame_event(out, key, in);
    struct tc_str news;
    int err = said_take(said, in->ev, &news);
    if (err != 0 || news.n == 0)
        return err;
    struct tc_event ev = *in->ev;
    struct dialect_event rest = *in;
    ev.text = news;
    rest.ev = &ev;
    return frame_event(out, key, &rest);
}

void frame_control(struct tc_buf *out, const struct track_key *key, const struct dialect_control *in) {
    size_t mark = chunk_open(out, key);
    key->dialect->control(out, in);
    chunk_close(out, key, mark);
}

void frame_heartbeat(struct tc_buf *out, const struct track_key *key) {
    struct tc_str beat = key->dialect->heartbeat;
    if (beat.n > 0 && key->chunked)
        tc_buf_printf(out, "%zx\r\n", beat.n);
    tc_buf_put_str(out, beat);
    if (beat.n > 0 && key->chunked)
        tc_buf_append(out, "\r\n", 2);
}

void frame_end(struct tc_buf *out, const struct track_key *key) {
    if (key->chunked)
        tc_buf_append(out, "0\r\n\r\n", 5);
}
