/* Publishing generations from C: what the tokencast worker uses, and what an inference server can link to write its own
 * logs. Everything runs on one libuv loop and must be called from its thread; no callback but on_pressure(true) is made
 * from inside a call.
 *
 * A writer owns one attempt at one generation. It fences the log, reads its tail, then appends: one append in flight,
 * the announcement after the acknowledgement. What is said meanwhile is merged and goes as the next entry.
 * Rules: docs/protocol.md, "Writing". */
#ifndef TOKENCAST_PUBLISH_H
#define TOKENCAST_PUBLISH_H

#include "base/attr.h"
#include "tokencast/error.h"
#include "tokencast/event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct tc_publisher;
struct tc_writer;
struct tc_redis;

struct tc_publisher_options {
    const char *prefix;   /* NULL = "tc:" */
    int64_t retention_ms; /* keys expire this long after the last write; 0 = 3,600,000 */
    int64_t flush_tokens; /* an entry waits for this many pieces …; 0 = 1: at once */
    int64_t flush_ms;     /* … or this long, whichever is first; 0 = 20 */
    size_t window_bytes;  /* acknowledged entries kept for repair; 0 = 1 MiB */
    size_t buffer_bytes;  /* not yet sent, before on_pressure; 0 = 256 KiB */
    size_t max_log_bytes; /* what may be said in one generation; 0 = 64 MiB */
    int64_t patience_ms;  /* Redis answers, but refuses writes (OOM, READONLY …): give up after it; 0 = 60,000 */
    const char *owner;    /* who writes, a hint in `meta`; NULL = empty */
};

/* Counters for metrics; only ever rise. */
struct tc_publisher_stats {
    uint64_t appends, announces, fenced, refused, repeated, pieces;
};

/* `redis` is borrowed and must outlive the publisher; it needs pubsub for cancels. */
TC_MUST_USE int tc_publisher_create(struct tc_publisher **out, uv_loop_t *loop, struct tc_redis *redis,
                                    const struct tc_publisher_options *opts);
/* No writer may be left. */
void tc_publisher_destroy(struct tc_publisher *p);
const struct tc_publisher_stats *tc_publisher_stats(const struct tc_publisher *p);

struct tc_writer_callbacks {
    /* err 0: fenced and ready; `last` is the last event before this attempt and `ended` says the log has `done`
     * (then nothing may be written). TC_EGONE: no such log. TC_EFENCED: somebody else's. */
    void (*on_open)(void *arg, int err, struct tc_position last, bool ended);
    /* Somebody asked to stop this generation. May come before on_open's return to the loop, and more than once. */
    void (*on_cancel)(void *arg);
    /* true: more than buffer_bytes wait, stop producing: told from inside the call that said the last of it, as its
     * last act. false: less than half of it, go on. What is said in spite of it is kept all the same. */
    void (*on_pressure)(void *arg, bool stop);
    /* The writer can write no more: TC_EFENCED (a later attempt owns the log), TC_EGONE (the log was deleted),
     * TC_EREDIS (refused for good), TC_EAGAIN (Redis lost a part that cannot be repeated any more: close, open again
     * and begin a new attempt), TC_ECLOSED (the Redis link was closed). Nothing else but closing is possible. */
    void (*on_lost)(void *arg, int err);
    /* `done` is acknowledged and announced. Again after every repair, since a failover may have taken it back: who
     * watches the log for a while afterwards begins anew. */
    void (*on_finished)(void *arg);
    /* The answer to tc_writer_check: the log ends where this writer believes. Else the writer finds out why, and goes
     * on by itself or calls on_lost. May be NULL. */
    void (*on_checked)(void *arg, bool agrees);
};

/* Opens generation `id` for writing. `create`: makes the log first if it does not exist (a server without brokers in
 * front). The writer waits for Redis as long as it takes. */
TC_MUST_USE int tc_writer_open(struct tc_writer **out, struct tc_publisher *p, const char *id, bool create,
                               const char *model, const char *channel, const struct tc_writer_callbacks *cbs,
                               void *arg);

/* The trace that the generation belongs to (W3C Trace Context), for a log that `create` makes: before this turn of the
 * loop ends, else TC_ESTATE. TC_EINVAL: not a traceparent; the log is made without. A log that exists keeps its own. */
TC_MUST_USE int tc_writer_set_traceparent(struct tc_writer *w, const char *traceparent);
/* What the log carries, to be sent on to model servers; "" if nothing. From on_open until close. */
const char *tc_writer_traceparent(const struct tc_writer *w);

/* Each copies what it is given. TC_ESTATE before on_open, after finish or after on_lost; TC_ETOOLARGE past
 * max_log_bytes; TC_EINVAL for text that is not whole UTF-8 characters. TC_ENOMEM: what was said may be counted and is
 * not kept, so that nothing right can follow: close the writer, and another attempt goes on. */
TC_MUST_USE int tc_writer_start(struct tc_writer *w, const char *model, const char *provider);
TC_MUST_USE int tc_writer_text(struct tc_writer *w, enum tc_kind kind, uint32_t index, struct tc_str text);
/* A tool call grows; with `done` its collected arguments are checked and `invalid` is set if they are not JSON. */
TC_MUST_USE int tc_writer_tool_call(struct tc_writer *w, uint32_t index, struct tc_str id, struct tc_str name,
                                    struct tc_str arguments, bool done);
TC_MUST_USE int tc_writer_note(struct tc_writer *w, const char *kind, struct tc_str text, struct tc_str data_msgpack);
TC_MUST_USE int tc_writer_error(struct tc_writer *w, const char *code, struct tc_str message, bool recoverable,
                                uint64_t retry_after_ms);
/* A takeover tells its readers: the `try_no`th try, why, and what of the text stays (rows of kind, index and length;
 * none: everything is said anew). Before any text or tool call; offsets go on from `kept`. Said again, it replaces what
 * the first one told: a model server that refuses to go on is asked anew. */
TC_MUST_USE int tc_writer_attempt(struct tc_writer *w, uint64_t try_no, const char *reason, const struct tc_kept *kept,
                                  size_t kept_count);
/* The one terminal event; `usage_msgpack` may be empty. Further calls are TC_ESTATE. */
TC_MUST_USE int tc_writer_finish(struct tc_writer *w, const char *reason, struct tc_str usage_msgpack);

/* Asks Redis whether the log still ends with this writer's last entry (rule 8), looks at the cancel flag and keeps the
 * keys from expiring: for a timer that no model can hold up, every third of a lease; also after on_finished (rule 6).
 * Answered by on_checked; TC_EAGAIN when that is not possible now (opening, repairing, link down). */
TC_MUST_USE int tc_writer_check(struct tc_writer *w);

/* Milliseconds from created to the first piece; -1 before it. Valid until close. */
int64_t tc_writer_ttft_ms(const struct tc_writer *w);
uint64_t tc_writer_pieces(const struct tc_writer *w);
struct tc_position tc_writer_position(const struct tc_writer *w); /* last acknowledged event */
int64_t tc_writer_created_us(const struct tc_writer *w);          /* `at` of created; 0 before on_open */
int64_t tc_writer_age_ms(const struct tc_writer *w);              /* since created, on the monotonic clock once open */

/* Irreversible; cb once, later; then the memory is gone. What was not acknowledged may or may not be in the log. */
void tc_writer_close(struct tc_writer *w, void (*cb)(void *arg), void *arg);

#endif
