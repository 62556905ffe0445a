/* Deltas, which nearly all entries of a log are: encoded, read where they are as they were encoded, and written as
 * JSON, without the tables (private to event_encode.c, event_decode.c and event_json.c, which take everything else).
 * Pure functions. */
#ifndef TC_WIRE_EVENT_DELTA_H
#define TC_WIRE_EVENT_DELTA_H

#include "base/str.h"
#include "tokencast/event.h"

/* Every number in the fewest bytes that hold it, as msgpack-c does. */
void event_delta_write(struct tc_buf *out, const struct tc_event *ev);

/* `out` is all zero, but for `kept`. False: not such a delta, or not well-formed; `out` then holds anything. */
bool event_delta_read(struct tc_str bytes, struct tc_event *out);

/* The object of an event with `as_encoded`. */
void event_delta_json(struct tc_buf *out, const struct tc_event *ev, const char *extra);

#endif
