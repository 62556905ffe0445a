/* The JSON of what the broker itself says on a stream. Pure. */
#ifndef BROKER_FEED_GAP_H
#define BROKER_FEED_GAP_H

#include "base/buf.h"
#include "tokencast/position.h"

/* {"type":"gap","from","to","dropped","reason"}; reason is "overflow", "trimmed" or "lost"; static text. */
void gap_json(struct tc_buf *out, struct tc_position from, struct tc_position to, uint64_t dropped, const char *reason);
/* The same of one generation in a channel; `extra` are ready JSON members with their comma, or NULL. */
void gap_json_of(struct tc_buf *out, const char *extra, struct tc_position from, struct tc_position to,
                 uint64_t dropped, const char *reason);

/* A log is gone: {"type":"error","code","message","recoverable":false}, then {"type":"done","reason":"error"}. `code`
 * and `message` need no escaping. */
void gap_error_json(struct tc_buf *out, const char *extra, const char *code, const char *message);
void gap_done_json(struct tc_buf *out, const char *extra);

#endif
