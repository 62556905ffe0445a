/* See said.h. */
#include "feed/said.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <string.h>

#define PRIME ((UINT64_C(1) << 61) - 1)

__extension__ typedef unsigned __int128 wide;

static uint64_t extend(const struct said *s, uint64_t hash, struct tc_str text) {
    for (size_t i = 0; i < text.n; i++) {
        wide product = (wide)hash * s->point + (unsigned char)text.p[i] + 1;
        hash = (uint64_t)(product & PRIME) + (uint64_t)(product >> 61);
        hash = hash >= PRIME ? hash - PRIME : hash;
    }
    return hash;
}

void said_init(struct said *s, uint64_t point, bool start) {
    *s = (struct said){.point = point % PRIME, .whole = start, .begun = start};
}

bool said_is_level(const struct said *s) {
    return s->at == s->units;
}

static void keep_tail(struct said *s, struct tc_str text) {
    size_t take = text.n < SAID_TAIL ? text.n : SAID_TAIL, keep = s->tail_len;
    if (keep > SAID_TAIL - take)
        keep = SAID_TAIL - take;
    memmove(s->tail, s->tail + s->tail_len - keep, keep);
    memcpy(s->tail + keep, text.p + text.n - take, take);
    s->tail_len = (unsigned)(keep + take);
    unsigned cut = 0;
    while (cut < s->tail_len && ((unsigned char)s->tail[cut] & 0xc0) == 0x80)
        cut++;
    s->tail_len -= cut;
    memmove(s->tail, s->tail + cut, s->tail_len);
}

/* The log's text is cut off at `units` and goes on there. */
static int cut(struct said *s, uint64_t units) {
    if (units >= s->at)
        return 0;
    if (units > 0 && s->expect == 0 && !said_is_level(s))
        return TC_ESTATE; /* what was to come again up to there has not been compared */
    struct tc_str tail = {s->tail, s->tail_len};
    uint64_t have = tc_utf16_len(tail), back = s->units - units;
    bool at_hand = back <= have;
    if (!at_hand && (units > 0 || !s->whole))
        return TC_ESTATE;
    size_t from = at_hand ? tc_utf16_to_byte(tail, have - back) : tail.n;
    if (at_hand && tc_utf16_len((struct tc_str){tail.p + from, tail.n - from}) != back)
        return TC_ESTATE; /* inside a character */
    s->at = units;
    s->again = 0;
    s->expect = (unsigned)(tail.n - from);
    return 0;
}

int said_rewind(struct said *s) {
    return s->whole ? cut(s, 0) : TC_ESTATE;
}

/* Compares as much of the text as comes again; *text is what follows. */
static int compare(struct said *s, struct tc_str *text) {
    struct tc_str same = *text;
    if (s->expect > 0) {
        if (same.n > s->expect)
            same.n = s->expect;
        if (memcmp(s->tail + s->tail_len - s->expect, same.p, same.n) != 0)
            return TC_ESTATE;
        s->expect -= (unsigned)same.n;
        s->at = s->expect == 0 ? s->units : s->at + tc_utf16_len(same);
    } else {
        same.n = tc_utf16_to_byte(*text, s->units - s->at);
        s->again = extend(s, s->again, same);
        s->at += tc_utf16_len(same);
        bool split = !said_is_level(s) && same.n < text->n;
        if (split || (said_is_level(s) && s->again != s->hash))
            return TC_ESTATE;
    }
    *text = (struct tc_str){text->p + same.n, text->n - same.n};
    return 0;
}

static int take_text(struct said *s, uint64_t offset, struct tc_str text, struct tc_str *news) {
    if (!s->begun)
        s->units = s->at = offset;
    s->begun = true;
    if (offset > s->at) { /* a writer that counts in its own way: what was told is not known any more */
        if (!said_is_level(s))
            return TC_ESTATE;
        s->whole = false;
        s->units = s->at = offset;
    }
    int err = cut(s, offset);
    if (err == 0 && !said_is_level(s) && text.n > 0)
        err = compare(s, &text);
    if (err != 0)
        return err;
    if (text.n > 0) {
        s->hash = s->again = extend(s, s->hash, text);
        s->units += tc_utf16_len(text);
        s->at = s->units;
        keep_tail(s, text);
    }
    *news = text;
    return 0;
}

static int take_attempt(struct said *s, const struct tc_event *ev) {
    uint64_t kept = 0;
    bool goes_on = tc_str_is(ev->mode, "continue");
    if (!s->begun) /* what the reader has is from before this stream */
        return goes_on ? 0 : TC_ESTATE;
    for (size_t i = 0; goes_on && i < ev->kept_count; i++)
        if (ev->kept[i].index == 0 && tc_str_is(ev->kept[i].kind, "text"))
            kept = ev->kept[i].length;
    return cut(s, kept);
}

int said_take(struct said *s, const struct tc_event *ev, struct tc_str *news) {
    *news = (struct tc_str){NULL, 0};
    if (ev->type == TC_EV_DELTA && ev->kind == TC_KIND_TEXT && ev->index == 0)
        return take_text(s, ev->offset, ev->text, news);
    if (ev->type == TC_EV_ATTEMPT)
        return take_attempt(s, ev);
    return ev->type == TC_EV_DONE && !said_is_level(s) ? TC_ESTATE : 0;
}

int said_join(struct said *s, const struct said *other) {
    bool level = said_is_level(s) && said_is_level(other);
    bool same = s->units == other->units && s->hash == other->hash;
    if (level && (!s->whole || !s->begun))
        *s = *other;
    else if (level)
        return other->whole && !same ? TC_ESTATE : 0;
    else if (!same || s->at != other->at || s->again != other->again || s->expect != other->expect)
        return TC_EAGAIN;
    return 0;
}
