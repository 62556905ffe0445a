/* What a log says so far: text by kind and index, tool calls, how it ended. Applies events in log order; deltas are
 * idempotent (text = text.slice(0, offset) + delta). Used for snapshots and for taking a generation over.
 * Bounded: 64 pieces (kind, index) and 256 tool calls and `max_bytes` in all; past a bound an event is TC_ETOOLARGE. */
#ifndef TC_WIRE_FOLD_H
#define TC_WIRE_FOLD_H

#include "base/attr.h"
#include "base/buf.h"
#include "tokencast/event.h"

#include <jansson.h>

struct tc_fold_piece {
    enum tc_kind kind; /* TEXT or REASONING; OTHER kinds are kept by name */
    char kind_name[32];
    uint64_t index;
    struct tc_buf text;
    uint64_t units; /* UTF-16 length of text */
};

struct tc_fold_tool {
    uint64_t index;
    struct tc_buf id, name, arguments;
    uint64_t units; /* of arguments */
    bool done, invalid;
};

struct tc_fold {
    struct tc_fold_piece *pieces;
    size_t piece_count;
    struct tc_fold_tool *tools;
    size_t tool_count;
    size_t bytes, max_bytes;

    bool started, ended;                      /* saw start; saw done */
    int64_t created_at, started_at, ended_at; /* `at` of created, first start, done; microseconds, 0 = none */
    uint64_t try_no;                          /* attempts so far, as people count */
    uint64_t ttft_ms, duration_ms;
    bool has_ttft;
    char reason[24]; /* of done */
    char model[128], channel[65], provider[64];
    struct tc_buf usage;                     /* raw MessagePack */
    struct tc_buf error_code, error_message; /* the last error event */
    struct tc_position position;             /* of the last event applied */
};

void tc_fold_init(struct tc_fold *f, size_t max_bytes);
void tc_fold_fini(struct tc_fold *f);

/* TC_ETOOLARGE, TC_ENOMEM; fences are accepted and change nothing but nothing is shown of them. An `attempt` event
 * cuts to its kept lengths (mode continue) or forgets all text and tool calls (mode restart). */
TC_MUST_USE int tc_fold_apply(struct tc_fold *f, struct tc_position at, const struct tc_event *ev);

/* text of (kind, index), or an empty string. Borrowed until the next apply. */
struct tc_str tc_fold_text(const struct tc_fold *f, enum tc_kind kind, uint64_t index);

/* "queued", "running", "done", "failed", "cancelled", from the log alone. */
const char *tc_fold_state(const struct tc_fold *f);

#endif
