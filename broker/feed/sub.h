/* A subscriber: one client's stream. Live, it is an offset into its track; catching up, or moved by its overflow
 * policy, it has a private buffer of at most a stated size. Loop thread; owned by its track's list from sub_create()
 * until it ends by itself (peer gone, stream over) or sub_destroy().
 *
 *      create -> CATCHUP --(reached the head)--> LIVE --(track ended)--> ENDING -> freed
 *                   ^  waits for Redis, or       |  waits for its socket, or for events
 *                   |  for its socket            |
 *                   +----(overflow: merge)-------+--(overflow: close, drain)--> ENDING
 */
#ifndef BROKER_FEED_SUB_H
#define BROKER_FEED_SUB_H

#include "base/buf.h"
#include "feed/track.h"
#include "http/http.h"

enum sub_state { SUB_CATCHUP = 0, SUB_LIVE, SUB_ENDING };
enum sub_policy { SUB_DROP = 0, SUB_MERGE, SUB_CLOSE };

enum catchup_result {
    CATCHUP_HEAD, /* everything up to the track's head is out: go live */
    CATCHUP_MORE, /* out has reached the limit */
    CATCHUP_WAIT, /* sub_pump() will be called when there is more */
    CATCHUP_END,  /* the stream is complete: end it clean */
    CATCHUP_FAIL  /* it cannot be completed in this form: cut it off */
};

/* What fills a subscriber's private buffer with what it has not seen. Owned by the subscriber. */
struct catchup {
    enum catchup_result (*step)(struct catchup *c, struct tc_buf *out, size_t limit);
    void (*destroy)(struct catchup *c);
    void (*ready)(void *arg); /* set by who steps: a step that answered CATCHUP_WAIT can go on; may destroy c */
    void *arg;
    struct said *said; /* what the reader has been told, in a form that can only append; else NULL */
};

struct fan;
struct http_batch;

struct sub {
    struct fan *fan;
    struct track *track;
    struct http_conn *conn;
    uint64_t off;       /* LIVE: next byte of the track to send */
    uint32_t index;     /* in track->subs */
    uint8_t state;      /* enum sub_state */
    uint8_t policy;     /* enum sub_policy */
    bool blocked;       /* the socket took less than was offered; waits for on_writable */
    bool more;          /* catch-up has more to do without waiting: the flush visits it */
    bool shed;          /* counted in the hub's shedding */
    struct tc_buf priv; /* to be sent before anything else */
    size_t priv_sent;
    uint64_t gap_dropped; /* and not yet told; 0 = none. What follows is not needed for an event */
    struct tc_position gap_from, gap_to;
    uint64_t retires_ms;     /* loop time at which it is asked to come back; 0 = never */
    struct catchup *catchup; /* CATCHUP */
};

/* Takes conn (already a stream), `head` (emptied) and catchup, also on failure. The caller then calls sub_pump(). */
TC_MUST_USE int sub_create(struct sub **out, struct fan *fan, struct track *track, struct http_conn *conn,
                           enum sub_policy policy, struct tc_buf *head, struct catchup *catchup);
extern const struct http_stream_events sub_stream_events; /* arg is the sub */

/* Sends what it can. The subscriber may be gone afterwards. */
void sub_pump(struct sub *s);
/* The common case of sub_pump(), one send of live bytes, added to a batch; false: it needs sub_pump(). The subscriber
 * counts as sent until sub_unsent() says otherwise; until the batch is submitted nothing else may happen to it. */
bool sub_batch(struct sub *s, struct http_batch *batch);
void sub_unsent(void *arg, size_t wanted,
                ssize_t sent); /* an http_batch_unsent; arg is the sub, maybe gone afterwards */
/* Its place in the track is about to be trimmed away: sends, or moves it by its policy. May be gone afterwards. */
void sub_rescue(struct sub *s, uint64_t new_tail);
/* Says something only to this subscriber and then ends its stream (drain, age). One that can only append is cut off: an
 * unfinished body must not look finished. May be gone afterwards. */
void sub_end_with(struct sub *s, const char *type, struct tc_str json, unsigned retry_ms);
/* Starts over from another source, after what is half sent: used when a branch of the log was lost. Takes catchup. */
void sub_restart(struct sub *s, struct catchup *catchup);
void sub_destroy(struct sub *s, bool clean);

#endif
