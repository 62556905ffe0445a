/* One attempt at writing one generation: the struct behind tc_writer, shared by the files that each do one part of its
 * work: writer.c (life), say.c (what is said), append.c (entries out), fence.c (opening, repair), check.c
 * (rule 8), hint.c (meta, TTLs).
 *
 *            .--ended log-----------------------------------------.
 *            |                                                    v
 *   OPENING -'-fenced-> LIVE --finish said--> FINISHING --acked-> FINISHED     waits: OPENING for ctl, link, replies
 *      |                 ^ |                    ^ |                ^ |               LIVE for pieces, acknowledgements
 *      |                 | v                    | v                | v               FINISHING for acknowledgements
 *      |                RECOVERING <-link lost, tail not mine, stale id              RECOVERING for link, replies,
 *      v                   v                                                            patience with refusals
 *     LOST <---------------'      every state --tc_writer_close--> CLOSED            CLOSED for replies, timers
 */
#ifndef WORKER_PUBLISH_WRITER_H
#define WORKER_PUBLISH_WRITER_H

#include "publish/lengths.h"
#include "publish/outbox.h"
#include "publish/publisher.h"
#include "publish/tool.h"
#include "publish/window.h"
#include "wire/trace.h"

enum writer_state {
    WRITER_OPENING = 0,
    WRITER_LIVE,
    WRITER_FINISHING,
    WRITER_FINISHED,
    WRITER_RECOVERING,
    WRITER_LOST,
    WRITER_CLOSED,
    WRITER_STATES
};

#define WRITER_HEX 32 /* characters of the random writer mark in a fence */

/* One run of the opening or repairing procedure (fence.c); its commands are pipelined, the last reply concludes. */
struct fencing {
    int pending;             /* commands of this run without a reply */
    bool again;              /* the link changed meanwhile: begin anew after the last reply */
    bool chosen;             /* the attempt number stands; its fence may be in the log */
    int failed;              /* first failure of this run, 0 = none */
    bool foreign;            /* the fence under my number carries another's mark */
    bool has_top;            /* the log has any entry */
    bool last_done;          /* `last` is a done event */
    int64_t length;          /* entries of the log */
    struct tc_position head; /* first entry */
    struct tc_position top;  /* last entry, fences included */
    struct tc_position last; /* last event; 0-0: none */
};

struct tc_writer {
    char id[TC_ID_MAX + 1];
    UT_hash_handle hh; /* in publisher->writers */
    bool listed;
    struct tc_publisher *publisher; /* borrowed */
    struct tc_writer_callbacks cbs;
    void *arg;
    enum writer_state state;

    char log[TC_KEY_MAX], meta[TC_KEY_MAX], bell[TC_KEY_MAX];
    size_t log_len;
    bool create;                                  /* make the log if there is none … */
    char model[128], channel[TC_CHANNEL_MAX + 1]; /* … with these */

    struct tc_trace trace; /* its parent: to go into `created`, then as found there */

    struct tc_redis_sub ctl;
    bool ctl_ready;

    uv_timer_t timer; /* flush cadence, back-off */
    int handles;      /* timer not yet closed */
    int pending;      /* Redis commands that will still call back with this writer */
    void (*close_cb)(void *arg);
    void *close_arg;

    char mark[WRITER_HEX + 1]; /* `writer` of my fence */
    uint64_t attempt;
    struct fencing fencing;
    bool ended_before;        /* the log had `done` when it was opened: nothing to write */
    struct tc_position base;  /* last event before my fence: what I built on */
    struct tc_position acked; /* last acknowledged event, base before the first */
    struct tc_position top;   /* what the log should end with: my fence or `acked` */
    struct tc_position head;  /* what the log begins with */
    int64_t length;           /* entries that the log should have */
    bool checking;            /* a check is under way */
    int64_t missing;          /* how many fewer it has, by the check that is under way */

    struct lengths lengths;
    struct tools tools;
    struct outbox outbox;
    struct window window;
    bool in_flight;      /* one XADD is unanswered */
    bool hold;           /* the timer runs for a back-off: nothing is sent */
    uint64_t backoff_ms; /* next back-off; 0 = none since the last success */
    uint64_t refused_us; /* monotonic: since when Redis refuses; 0 = it does not */
    bool finish_said;    /* tc_writer_finish was called */
    bool stopped;        /* on_pressure(true) is in force */
    size_t said_bytes;   /* against max_log_bytes */

    int64_t created_us; /* `at` of created */
    int64_t age_ms;     /* since created, when it was opened (wall clock) … */
    uint64_t opened_us; /* … at this monotonic time */
    int64_t ttft_ms;    /* -1 before the first piece */
    uint64_t pieces;
    bool hint_running, hint_ended; /* the next acknowledgement is followed by this hint in meta */
    uint64_t ttl_us;               /* monotonic: when the keys' TTLs were last set; 0 = never */
    char reason[24];               /* of done … */
    int64_t ended_us;              /* … and its `at` */
    uint64_t try_no;               /* of tc_writer_attempt, 1 without it */
};

/* writer.c */
void writer_set_state(struct tc_writer *w, enum writer_state state); /* aborts on a move that is not allowed */
void writer_link_up(struct tc_writer *w);
void writer_link_down(struct tc_writer *w);
void writer_opened(struct tc_writer *w, bool ended); /* base, attempt and created_us are set */
void writer_lost(struct tc_writer *w, int err);      /* or, while opening, on_open with err */
void writer_hold(struct tc_writer *w);               /* back-off, then fence_begin or append_next */
void writer_wait(struct tc_writer *w, uint64_t ms);  /* fence_begin or append_next then */
void writer_press(struct tc_writer *w);              /* on_pressure(true), if too much waits */
/* true: Redis has refused for longer than the writer's patience, and it is lost now. */
bool writer_refused(struct tc_writer *w);
struct tc_redis *writer_redis(const struct tc_writer *w);
struct tc_str writer_route(const struct tc_writer *w); /* the key that routes everything of this generation */
/* First lines of a reply callback: one command less is pending. true: closing, touch nothing more. */
bool writer_reply_in(struct tc_writer *w);

/* append.c: sends the next entry if nothing is in flight and the state, the back-off and the cadence let it. */
void append_next(struct tc_writer *w);
/* After an acknowledgement or a repair: hints, on_finished, on_pressure(false), where they are due. */
void append_settle(struct tc_writer *w, uint64_t now_us);

/* fence.c: opens (OPENING) or repairs (RECOVERING, entered by it from the writing states). */
void fence_begin(struct tc_writer *w);
void fence_recover(struct tc_writer *w);

/* hint.c */
void hint_after_ack(struct tc_writer *w, uint64_t now_us); /* meta and TTLs that are due after an acknowledgement */
void hint_expiry(struct tc_writer *w, uint64_t now_us, bool force);
void hint_read_cancel(struct tc_writer *w); /* the flag in meta; on_cancel if it is set */

#endif
