/* One wire form of a feed (dialect, what is included, pace, transfer framing): every frame encoded once into
 * contiguous segments that all its subscribers send from. A subscriber is a byte offset into the track.
 *
 * Offsets count bytes since the track began and never go back. Segments and the frame index cover [tail_off, head_off);
 * what lies before is trimmed, segment by segment, once it is older than the bounds, whether or not somebody still
 * stands there: `on_trim` is told first, so that the fan moves those subscribers by their policy. While everybody keeps
 * up nothing is kept, and the same warm memory is written again. */
#ifndef BROKER_FEED_TRACK_H
#define BROKER_FEED_TRACK_H

#include "base/attr.h"
#include "dialect/dialect.h"
#include "feed/merge.h"
#include "feed/said.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

enum track_include { INCLUDE_TEXT = 1, INCLUDE_REASONING = 2, INCLUDE_TOOLS = 4, INCLUDE_NOTES = 8, INCLUDE_ALL = 15 };

struct track_key {
    const struct dialect *dialect;
    unsigned include; /* enum track_include bits */
    enum pace pace;
    bool chunked; /* HTTP/1.1 chunk framing is part of the bytes */
};

/* Does a reader of this mask get this event? Events that say how the generation goes always pass. */
bool track_includes(unsigned include, const struct tc_event *ev);

/* Appends one frame in the key's wire form, chunk framing included. An event the dialect leaves out adds nothing. */
TC_MUST_USE int frame_event(struct tc_buf *out, const struct track_key *key, const struct dialect_event *in);
/* The same in a form that may only append: leaves out what was told already. TC_ESTATE: it cannot be said any more. */
TC_MUST_USE int frame_news(struct tc_buf *out, const struct track_key *key, struct said *said,
                           const struct dialect_event *in);
void frame_control(struct tc_buf *out, const struct track_key *key, const struct dialect_control *in);
void frame_heartbeat(struct tc_buf *out, const struct track_key *key);
void frame_end(struct tc_buf *out, const struct track_key *key); /* the last chunk */

struct frame {
    uint64_t off;             /* where it begins */
    struct tc_position pos;   /* position of the track after it */
    struct tc_position reach; /* newest event it holds a part of: past pos where the pace cut inside a piece */
    bool keep;                /* never dropped: done, error, attempt, finished tool calls, what the broker says */
    bool silent;              /* neither an event nor worth telling when dropped: heartbeats */
};

struct segment {
    struct segment *next;
    uint64_t base;  /* offset of data[0] */
    uint64_t frame; /* number of the frame that begins there */
    uint32_t len, cap;
    char data[];
};

struct sub;

/* What an event touches comes first: with a thousand generations it is cold each time. */
struct track {
    struct track_key key;
    struct track *next; /* of the same fan */
    struct segment *first, *last;
    uint64_t tail_off, head_off;
    struct frame *frames; /* ring; cap is a power of two; frame number n lies at n & (cap - 1) */
    uint64_t frame_first, frame_next;
    size_t frame_cap;
    struct tc_position pos;      /* after the newest frame */
    struct tc_position tail_pos; /* before frame_first */
    struct tc_buf *scratch;      /* borrowed: a frame before it is copied */
    struct sub **subs;           /* everyone who stands on this track, in no order */
    uint32_t sub_count, sub_cap;
    uint32_t hand, todo; /* flush: next to visit, and how many are left this time */
    uint32_t blocked;    /* how many wait for their sockets */
    bool ended;          /* the last chunk is in; nothing follows */
    bool broken;         /* there was no memory for an event: nobody stands on it, and nobody may again */

    size_t max_events, max_bytes;
    uint64_t beat_ms;  /* loop time of the heartbeat or frame last seen by fan_heartbeat() */
    uint64_t beat_off; /* head_off then */
    void (*on_trim)(struct track *t, uint64_t new_tail); /* set by the fan */
    struct merge merge;                                  /* holds text back for a pace */
    struct said said; /* to all who stand at its head, in a form that can only append */
};

/* scratch: borrowed for the track's life; shared by all tracks of a loop. */
TC_MUST_USE int track_create(struct track **out, const struct track_key *key, size_t max_events, size_t max_bytes,
                             struct tc_buf *scratch);
void track_destroy(struct track *t);

/* Whoever joins from now on stands after pos: what was appended until now is of a branch that was lost, or nothing was.
 * Nobody may be live. */
void track_begin(struct track *t, struct tc_position pos);
/* A new event through filter and pace; 0 also when nothing comes out of it yet. `id` as in dialect_event. */
TC_MUST_USE int track_event(struct track *t, struct tc_position pos, const struct dialect_event *in);
void track_ahead(const struct track *t); /* an event is about to come: asks for the memory that t points to */
TC_MUST_USE int track_control(struct track *t, const struct dialect_control *in);
TC_MUST_USE int track_heartbeat(struct track *t);
TC_MUST_USE int track_end(struct track *t); /* gives out what the pace holds back, then the last chunk */

/* Up to n pieces of [off, head); off must lie in [tail_off, head_off]. Returns how many; *bytes their sum. */
int track_iov(const struct track *t, uint64_t off, struct iovec *iov, int n, size_t *bytes);
/* The number of the frame that contains offset off (frame_next for head_off). */
uint64_t track_frame_at(const struct track *t, uint64_t off);
static inline const struct frame *track_frame(const struct track *t, uint64_t number) {
    return &t->frames[number & (t->frame_cap - 1)];
}
static inline uint64_t track_frame_end(const struct track *t, uint64_t number) {
    return number + 1 == t->frame_next ? t->head_off : track_frame(t, number + 1)->off;
}
/* Copies [from, to) to out. */
void track_copy(const struct track *t, uint64_t from, uint64_t to, struct tc_buf *out);

#endif
