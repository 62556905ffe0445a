/* One generation on one loop: its tail (what Redis announces and the log repairs), its history, its fan. However many
 * subscribers it has, the log is followed once. Loop thread; owned by the hub, kept by feed_ref() while used and for a
 * while after.
 *
 *     COLD --subscribe--> SUBSCRIBING --confirmed--> LOADING --read--> READY --(announcements)--> … done
 *                              ^ waits for Redis        ^ |               | out of sequence, sweep, link lost
 *                                                       | +--> FAILED     v
 *                                                       |   (no such log) READING (a flag of READY): the log decides
 *                                                       +------ branch lost: from the start
 * How it fails: no log and no meta: TC_ENOTFOUND; meta but no log: TC_EGONE. A log that vanishes later ends every
 * reader with `error` and `done` without ids.
 */
#ifndef BROKER_FEED_FEED_H
#define BROKER_FEED_FEED_H

#include "base/attr.h"
#include "base/list.h"
#include "feed/fan.h"
#include "feed/history.h"
#include "feed/hub.h"
#include "redis/redis.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum feed_state { FEED_COLD = 0, FEED_SUBSCRIBING, FEED_LOADING, FEED_READY, FEED_FAILED };

/* What readers are told of a generation that goes on (status.h). */
enum feed_status {
    STATUS_NONE = 0, /* nothing was said; a reader that is to be told nothing */
    STATUS_QUEUED,
    STATUS_RUNNING,
    STATUS_STALLED,
    STATUS_RECOVERING,
    STATUS_UNKNOWN /* something was said, nobody knows what */
};

struct feed {
    /* What each event touches: with a thousand generations it is cold each time, so it lies together. */
    struct tc_redis_sub bell;
    struct hub *hub;
    struct tc_position last; /* newest event */
    uint64_t quiet_ms;       /* loop time of the last sign of life: an event, or a look at the log */
    uint64_t event_ms;       /* loop time of the newest event, or of settling */
    enum feed_state state;
    enum feed_status told;                  /* to the readers at the head */
    bool started, ended, cancelled, failed; /* from the log's start and done */
    bool stalled;                           /* no worker is known to live (liveness.c) */
    bool reading, again;                    /* a log read is under way; something came meanwhile */
    bool closing;
    struct history history;
    struct fan fan;
    struct tc_list waits;     /* struct feed_wait */
    struct tc_list listeners; /* struct feed_listener */

    UT_hash_handle hh;
    struct tc_list turn; /* in the sweep */
    char id[TC_ID_MAX + 1];
    char log_key[TC_KEY_MAX], meta_key[TC_KEY_MAX];
    int err; /* FAILED */
    char model[128], channel[TC_CHANNEL_MAX + 1], job[48];
    struct queue_wait queued; /* LOADING: for a look at the queue */
    bool abandonable;         /* on_abandon is cancel: viewers are reported */
    bool restated;            /* a status was told to readers at the head at least once */
    bool has_meta;
    bool looking; /* liveness.c, as the next three */
    uint64_t next_look_ms;
    uint64_t expires_ms,
        renewed_ms;            /* loop times: when the log will expire, and when that was last put off; 0 = unknown */
    uint64_t viewed_ms;        /* loop time of the last report; 0 = none */
    uint64_t room_ms;          /* loop time when a channel with subscribers last had it as a member; 0 = never */
    struct tc_position oldest; /* LOADING: how far back it has come */
    struct tc_redis_inquiry absence;      /* LOADING found nothing: may that be believed? */
    uint64_t epoch;                       /* of Redis, when the log was last read in it; 0 = not known */
    uint64_t read_ms;                     /* loop time at which the read under way began */
    uint64_t looked_ms;                   /* a complete read of the log began then */
    uint64_t behind_ms;                   /* loop time since which the log has ended before `last`; 0 = it does not */
    struct vanish *vanish;                /* finding out why the log is gone; NULL = it is not */
    const char *gone_code, *gone_message; /* why it is gone; static; NULL = it is not */
    unsigned refs;                        /* users other than subscribers that are live */
    unsigned calls;                       /* Redis commands in flight that point here */
    uint64_t idle_ms;                     /* loop time since which nobody uses it; 0 = somebody does */
};

/* The feed of a generation, made if need be, with a reference. TC_EFULL, TC_ENOMEM. */
TC_MUST_USE int feed_get(struct hub *h, const char *id, struct feed **out);
void feed_ref(struct feed *f);
void feed_unref(struct feed *f);
static inline bool feed_settled(const struct feed *f) {
    return f->state == FEED_READY || f->state == FEED_FAILED;
}
/* "queued", "running", "stalled", "done", "failed", "cancelled" */
const char *feed_state_name(const struct feed *f);
bool feed_is_watched(const struct feed *f);            /* somebody reads it, by itself or in a room */
struct feed *feed_find(struct hub *h, const char *id); /* no reference; NULL = nobody follows it */

/* Called once at the next change: settled, a new event, ended, Redis back. One-shot: link again to hear more. */
struct feed_wait {
    struct tc_list node;
    void (*cb)(void *arg);
    void *arg;
};
void feed_wait_add(struct feed *f, struct feed_wait *w);
void feed_wait_remove(struct feed_wait *w); /* idempotent */

/* Hears every event as it comes, in order; for channels. */
struct feed_listener {
    struct tc_list node;
    void (*on_event)(void *arg, struct feed *f, struct tc_position pos, const struct tc_event *ev, struct tc_str raw);
    void (*on_lost)(void *arg, struct feed *f);   /* a branch was lost: positions start over */
    void (*on_status)(void *arg, struct feed *f); /* f->told changed */
    void *arg;
};
void feed_listen(struct feed *f, struct feed_listener *l);
void feed_unlisten(struct feed_listener *l);

/* Used by the hub. */
void feed_sweep(struct feed *f, uint64_t now_ms);
void feed_redis_changed(struct feed *f);
void feed_destroy(struct feed *f); /* no references; memory goes when the last Redis reply is in */

/* Used by the tail: a checked, contiguous event has come. */
TC_MUST_USE int feed_push(struct feed *f, struct tc_position pos, const struct tc_event *ev, struct tc_str raw);
void feed_settle(struct feed *f, int err);
void feed_lost(struct feed *f); /* the branch that readers were on is gone */
void feed_vanished(struct feed *f, const char *code, const char *message);
void feed_gap(struct feed *f, struct tc_position from, struct tc_position to, uint64_t dropped);
void feed_wake(struct feed *f);
void feed_note_state(struct feed *f, const struct tc_event *ev);
/* Ends every Redis reply callback that points to the feed: counts it off; true if the feed is gone now or going. */
bool feed_call_done(struct feed *f);

#endif
