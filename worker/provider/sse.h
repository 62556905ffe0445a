/* An incremental parser of text/event-stream (WHATWG HTML, 9.2): LF, CR, CRLF, BOM, comments, data over several lines,
 * bytes cut anywhere. Reads what a model server sends, so everything is bounded. Pure: bytes in, events out. */
#ifndef WORKER_PROVIDER_SSE_H
#define WORKER_PROVIDER_SSE_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

#define SSE_LINE_MAX  (1024 * 1024)     /* bytes of one line */
#define SSE_EVENT_MAX (2 * 1024 * 1024) /* bytes of one event's data */
#define SSE_NAME_MAX  64                /* bytes of an event name; longer ones count as unnamed */

/* One event; name is empty for "message". Both borrowed for the call. false: stop reading behind this event. */
typedef bool (*sse_event_cb)(void *arg, struct tc_str name, struct tc_str data);

struct sse {
    sse_event_cb cb;
    void *arg;
    struct tc_buf line; /* a line whose end has not come yet */
    struct tc_buf data; /* of the event that is being read */
    char name[SSE_NAME_MAX];
    size_t name_len;
    bool has_data;   /* a data field was seen, if only an empty one */
    bool after_cr;   /* a LF that comes next belongs to the CR before it */
    bool first_done; /* the first line, which may begin with a BOM, has passed */
};

void sse_init(struct sse *s, sse_event_cb cb, void *arg);
void sse_fini(struct sse *s);  /* accepts zeroed memory */
void sse_reset(struct sse *s); /* ready for another stream */

/* Reads bytes until they are used up or the callback says stop; *consumed tells how far. TC_ETOOLARGE past a bound,
 * TC_ENOMEM; the stream is then of no more use. */
TC_MUST_USE int sse_feed(struct sse *s, struct tc_str bytes, size_t *consumed);

/* The stream has ended. The specification discards an event without its blank line; an upstream's last event is taken
 * if its lines were whole, because some servers leave the last blank line out. Half a line is always discarded. */
void sse_finish(struct sse *s);

#endif
