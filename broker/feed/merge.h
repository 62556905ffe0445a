/* Joins adjacent deltas (and tool call pieces) into larger ones, so that a reader who catches up gets thousands of
 * tokens as a few events; and holds text back to the next word, sentence or line for readers who asked for a pace.
 * Only pieces of the same attempt, kind and index with contiguous offsets are joined, so that a joined event's
 * position never passes an event that was not sent. Pure; owned by its user. */
#ifndef BROKER_FEED_MERGE_H
#define BROKER_FEED_MERGE_H

#include "base/attr.h"
#include "base/buf.h"
#include "tokencast/event.h"

enum pace { PACE_TOKEN = 0, PACE_WORD, PACE_SENTENCE, PACE_LINE };

/* pos: everything up to it has been given out when this returns. */
typedef int (*merge_emit)(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw);

struct merge {
    merge_emit emit;
    void *arg;
    enum pace pace;
    size_t max_bytes;     /* of text in one joined event */
    struct tc_event held; /* the event being joined; its text lies in `text`; valid while holding */
    bool holding;
    struct tc_position last;   /* of the newest piece in held */
    struct tc_position before; /* of the piece before that; given out or held */
    struct tc_buf text;
    uint64_t units;             /* UTF-16 length of text */
    size_t cut;                 /* bytes of text up to its last boundary of the pace; 0 = none */
    struct tc_position cut_pos; /* newest piece that lies wholly before the cut */
    char kind_name[32];
    struct tc_buf scratch; /* the encoded joined event */
};

void merge_init(struct merge *m, enum pace pace, size_t max_bytes, merge_emit emit, void *arg);
void merge_fini(struct merge *m);
/* Forgets what is held; positions up to `at` count as given out. */
void merge_reset(struct merge *m, struct tc_position at);

/* Takes the next event; gives out what can no longer grow. An error is emit's, or TC_ENOMEM. */
TC_MUST_USE int merge_push(struct merge *m, struct tc_position pos, const struct tc_event *ev, struct tc_str raw);
/* Gives out what is held up to the last boundary of the pace (PACE_TOKEN: all of it). */
TC_MUST_USE int merge_flush(struct merge *m);

#endif
