/* Events: what a log entry holds, as a struct and as the bytes of its field `e` (a MessagePack map with string keys).
 * A decoded event borrows from the bytes it was decoded from. Pure functions, any thread.
 * The types and their fields: docs/protocol.md. */
#ifndef TOKENCAST_EVENT_H
#define TOKENCAST_EVENT_H

#include "base/buf.h"
#include "base/str.h"
#include "tokencast/position.h"

#include <stdbool.h>
#include <stdint.h>

/* Bounds on foreign bytes; docs/protocol.md states them. */
#define TC_EVENT_MAX_BYTES (1024 * 1024) /* a whole entry */
#define TC_EVENT_MAX_DEPTH 16            /* nesting of maps and arrays */
#define TC_EVENT_MAX_KEYS  64            /* keys of the outer map */
#define TC_KEPT_MAX        32            /* rows of `kept` in an attempt event */

enum tc_event_type {
    TC_EV_UNKNOWN = 0, /* a type this version does not know; carried through */
    TC_EV_CREATED,
    TC_EV_START,
    TC_EV_DELTA,
    TC_EV_TOOL_CALL,
    TC_EV_NOTE,
    TC_EV_ATTEMPT,
    TC_EV_ERROR,
    TC_EV_DONE,
    TC_EV_FENCE /* not an event: no reader is shown one */
};

enum tc_kind { TC_KIND_TEXT = 0, TC_KIND_REASONING, TC_KIND_OTHER };

struct tc_kept {
    struct tc_str kind; /* "text", "reasoning", "tool_call" */
    uint64_t index;
    uint64_t length; /* UTF-16 units */
};

struct tc_event {
    enum tc_event_type type;
    struct tc_str type_name; /* as on the wire; the encoder takes it from `type` unless that is UNKNOWN */
    int64_t at;              /* Unix time in microseconds; 0 = absent */

    struct tc_str text;      /* delta, note */
    uint64_t offset;         /* delta, tool_call: UTF-16 units before this piece */
    enum tc_kind kind;       /* delta */
    struct tc_str kind_name; /* delta: set when kind is OTHER; note: its kind */
    uint64_t index;          /* delta, tool_call */
    bool as_encoded; /* delta, by tc_event_decode(): its bytes hold these fields as tc_event_encode() puts them */

    struct tc_str id, name, arguments; /* tool_call */
    bool done, invalid;                /* tool_call */

    struct tc_str model, channel, provider; /* created, start */
    struct tc_str traceparent;              /* created; as it was found, check it before use */
    struct tc_str data;                     /* note: raw MessagePack of any value; n = 0: absent */

    uint64_t attempt, try_no; /* attempt; try_no is the wire's `try` */
    struct tc_str reason;     /* attempt, done */
    struct tc_str mode;       /* attempt: "continue", "restart" */
    struct tc_position from;  /* attempt: position it goes on from */
    struct tc_kept kept[TC_KEPT_MAX];
    size_t kept_count;

    struct tc_str code, message; /* error */
    bool recoverable;            /* error */
    uint64_t retry_after_ms;     /* error; 0 = absent */

    struct tc_str usage;                        /* done: raw MessagePack map; n = 0: absent */
    uint64_t ttft_ms, duration_ms, text_length; /* done */
    bool has_ttft;                              /* done: a first token was seen */

    struct tc_str writer; /* fence */
};

/* Appends the MessagePack form; fields at their default (0, false, kind text, index 0) are left out except those a
 * type always carries (`offset` of delta and tool_call, `text` of delta). Check tc_buf_ok(out) afterwards. */
void tc_event_encode(struct tc_buf *out, const struct tc_event *ev);

/* Decodes untrusted bytes: depth, length, key count and every claimed size are checked before use, nothing is
 * allocated. TC_ETOOLARGE past a bound, TC_ESYNTAX for anything that is not exactly one map with string keys or has a
 * known field of the wrong type. Strings that are not UTF-8 are TC_ESYNTAX, at any depth, and so are a `type` that is
 * not 1 to 64 visible ASCII characters (it becomes the `event:` line), a delta without text or offset, and a map's key
 * that is an array or a map. Only the fields of its own type are known to an event; others are carried through. nil in
 * a known field counts as absent; a float that is whole, as an integer. Of equal keys the first counts. */
int tc_event_decode(const void *bytes, size_t len, struct tc_event *out) __attribute__((warn_unused_result));

/* Appends the JSON object of an entry: every field of the map in its order, unknown ones too; `ev` is what decode made
 * of these bytes, and `extra` (may be NULL) a run of ready JSON members such as `"generation":"x",` put first. Binary
 * values become base64url strings, ext values null, non-finite numbers null; of equal keys the first is written, and
 * known fields that are nil are not. TC_ENOMEM when `out` failed, another error where decode would have refused the
 * bytes; on error `out` is as it was. */
int tc_event_to_json(struct tc_buf *out, const struct tc_event *ev, const void *bytes, size_t len, const char *extra)
    __attribute__((warn_unused_result));

const char *tc_event_type_name(enum tc_event_type type); /* "delta"; "unknown" for TC_EV_UNKNOWN */

#endif
