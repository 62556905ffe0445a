/* All feeds and channels of one loop, what they share, and the loop's turn: flush after every poll, sweep what is
 * quiet. Loop thread only; owned by the loop's main object. */
#ifndef BROKER_FEED_HUB_H
#define BROKER_FEED_HUB_H

#include "base/attr.h"
#include "base/list.h"
#include "feed/drain.h"
#include "feed/recap.h"
#include "redis/redis.h"
#include "tokencast/position.h"
#include "wire/keys.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct feed;
struct channel;
struct http_batch;

struct hub_options {
    const char *prefix;            /* of keys */
    const char *queue;             /* NULL = the default queue; for "how many are ahead" */
    int64_t lag_events, lag_bytes; /* a subscriber's bound; also what a track and the history keep */
    int64_t heartbeat_ms;
    int64_t linger_ms;        /* a feed without readers is kept this long */
    int64_t lease_ms;         /* of viewers, and how long a position ahead of the log is waited for */
    int64_t sweep_ms;         /* what nobody announced is found within it; 0 as 1 */
    int64_t max_feeds;        /* beyond: TC_EFULL */
    const char *instance;     /* this broker's name among viewers; unique a process and loop */
    int64_t max_age_ms;       /* streams are asked to come back after about this long; 0 = never */
    struct http_batch *batch; /* streams are sent through it; borrowed; NULL = one by one */
    bool warns;               /* of Redis's eviction policy: one loop of a process */
};

/* Only ever rise, but for the gauges at the end. */
struct hub_stats {
    uint64_t events, announced, log_reads, sweeps_found, decode_errors;
    uint64_t sends, bytes, blocked;
    uint64_t gaps_overflow, gaps_trimmed, gaps_lost, dropped_events;
    uint64_t overflow_drop, overflow_merge, overflow_close;
    uint64_t streams_opened, streams_ended, streams_gone, no_memory;
    uint64_t stalls, requeued, byes_drain, byes_age, byes_unavailable;
    uint64_t streams, feeds, channels; /* gauges */
};

#define EVICTION_SAMPLES 8 /* four sweeps' */

struct eviction {                      /* eviction.h */
    int64_t samples[EVICTION_SAMPLES]; /* keys that Redis had evicted, ever; the oldest first */
    unsigned count;                    /* of samples since Redis came up */
    bool asking;
};

#define QUEUE_JOBS 1000 /* that a look at the queue takes */

struct queue {                           /* queue.h */
    struct tc_position jobs[QUEUE_JOBS]; /* that wait, in order */
    struct tc_position delivered;        /* the last one that a worker got */
    unsigned seen, count;                /* of jobs: what the last look saw, and with what was asked for since */
    bool known, looking;
    bool stale;           /* looking: at what is forgotten */
    bool wanted;          /* by the next sweep: a queued generation is read */
    uint64_t asked_ms;    /* loop time at which the last look began */
    uint64_t looked_ms;   /* the same of the last one that ended */
    struct tc_list waits; /* struct queue_wait */
};

struct queue_wait {
    struct tc_list node;
    const char *job; /* borrowed */
    void (*cb)(void *arg);
    void *arg;
};

struct hub {
    uv_loop_t *loop;
    struct tc_redis *redis; /* borrowed */
    struct hub_options opts;
    struct hub_stats stats;
    struct feed *feeds;       /* hash by id */
    struct tc_list turns;     /* of the sweep, through all feeds */
    struct channel *channels; /* hash by name */
    struct tc_list dirty;     /* fans with something to flush */
    uv_check_t check;         /* flushes after each poll */
    uv_idle_t idle;           /* keeps poll from sleeping while the flush is not done */
    uv_timer_t sweep;
    unsigned part; /* of the sweep, the next */
    struct tc_redis_watch watch;
    void (*on_latency)(void *arg, int64_t us); /* from the event's `at` to its being sent, once a flush; may be NULL */
    void *arg;
    bool away;      /* Redis: what the watch was last told */
    bool warned;    /* of the eviction policy */
    uint64_t epoch; /* epoch.h; 0 = not known */
    struct eviction eviction;
    struct queue queue;
    struct recap recap;
    struct tc_buf scratch; /* of the tracks */
    uint64_t said_point;   /* said.h */
    bool draining, closing;
    bool full;          /* no memory for more streams */
    uint64_t shedding;  /* streams that were told to go and have not gone */
    struct drain drain; /* while draining */
    unsigned handles;   /* not yet closed */
    void (*close_cb)(void *arg);
    void *close_arg;
};

TC_MUST_USE int hub_init(struct hub *h, uv_loop_t *loop, struct tc_redis *redis, const struct hub_options *opts);
/* Every stream must be gone or is cut off here. cb once all is closed. Redis must still be there and be closed
 * afterwards: it answers what is in flight, and those answers look here. Then the memory is the caller's. */
void hub_close(struct hub *h, void (*cb)(void *arg), void *arg);

void hub_mark_dirty(struct hub *h, struct tc_list *node);
uint64_t hub_now_ms(const struct hub *h); /* loop time */
/* How often the sweep comes to a feed, and how long a log must have been quiet for it to be looked at: half of what is
 * promised, since what goes unnoticed right after one sweep is not quiet for long enough at the next. */
uint64_t hub_quiet_ms(const struct hub *h);

#endif
