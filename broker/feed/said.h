/* What a reader of bare text has been told: enough to know whether text that comes again, from another attempt or
 * another branch of the log, is the same, without keeping it. What is the same is skipped; what is not cannot be taken
 * back. What is still at hand (the last bytes) is compared as it is; all from the start by hash; no more is known. The
 * hash is a polynomial over 2^61 - 1 at a secret random point: two texts of n bytes collide with a chance of n / 2^61,
 * whoever wrote them. Pure; owned by a track or a catch-up. */
#ifndef BROKER_FEED_SAID_H
#define BROKER_FEED_SAID_H

#include "base/attr.h"
#include "tokencast/event.h"

#define SAID_TAIL 128

struct said {
    uint64_t point;       /* of the hash */
    bool whole;           /* `hash` is that of the text from its start */
    bool begun;           /* or: `units` is known */
    uint64_t units, hash; /* of what was told: UTF-16 units */
    uint64_t at, again;   /* how far what comes again has come, and its hash; at == units: nothing does */
    unsigned expect;      /* bytes at the end of `tail` that come again; 0 = it is compared by hash */
    unsigned tail_len;
    char tail[SAID_TAIL]; /* the last bytes told, from the beginning of a character */
};

/* `start`: nothing was told; otherwise what was told is not known. */
void said_init(struct said *s, uint64_t point, bool start);
/* The next event of the log. *news: text that the reader has not been told. TC_ESTATE: it was told something else. */
TC_MUST_USE int said_take(struct said *s, const struct tc_event *ev, struct tc_str *news);
/* The log comes again from its start. TC_ESTATE: nobody knows what was told. */
TC_MUST_USE int said_rewind(struct said *s);
bool said_is_level(const struct said *s); /* the reader has what the log says, no more */
/* May one who was told `other` go on with those who were told `s`? 0; TC_EAGAIN: not yet; TC_ESTATE: never. */
TC_MUST_USE int said_join(struct said *s, const struct said *other);

#endif
