/* A wire format: how one event, and one thing the broker itself says, look on the wire. One file a format; each is a
 * static table. Encoders append whole frames without transfer framing; pure functions. */
#ifndef BROKER_DIALECT_DIALECT_H
#define BROKER_DIALECT_DIALECT_H

#include "base/buf.h"
#include "tokencast/event.h"

#include <stdbool.h>

struct dialect_event {
    struct tc_str id;          /* what the client sends back to resume: a position, or a channel's composite one */
    const struct tc_event *ev; /* decoded view of raw */
    struct tc_str raw;         /* MessagePack map */
    const char *extra;         /* ready JSON members put first, such as `"generation":"x",`; NULL = none */
};

/* What is in no log: open, gap, status, bye, and error/done when a log is gone. */
struct dialect_control {
    const char *type;
    struct tc_str json; /* the whole object */
    struct tc_str id;   /* what the client comes back with from now on, where that changes; n = 0: it does not */
    unsigned retry_ms;  /* 0 = no reconnection hint */
};

struct dialect {
    const char *name;
    const char *content_type;
    struct tc_str heartbeat; /* what shows a quiet stream to be alive; n = 0: the format has nothing harmless */
    bool append_only;        /* can express neither a gap nor a correction: overflow merges, a lost branch ends it */
    /* TC_ESYNTAX when raw is malformed; out is then as it was. May append nothing (an event this format leaves out). */
    int (*event)(struct tc_buf *out, const struct dialect_event *in);
    void (*control)(struct tc_buf *out, const struct dialect_control *in);
};

extern const struct dialect dialect_native; /* Server-Sent Events */
extern const struct dialect dialect_ndjson;
extern const struct dialect dialect_text;

#endif
