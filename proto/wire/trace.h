/* W3C Trace Context, https://www.w3.org/TR/trace-context/: what a client's tracing says of a request, carried on as it
 * came. We report no spans, so we make no ids: who does report spans joins them over us. Pure functions. */
#ifndef TC_WIRE_TRACE_H
#define TC_WIRE_TRACE_H

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"

#define TC_TRACEPARENT_BYTES 55  /* version 00 */
#define TC_TRACESTATE_MAX    512 /* bytes that everybody must be able to carry (3.3.1.5); beyond, it is left out */

struct tc_trace {
    char parent[TC_TRACEPARENT_BYTES + 1]; /* `traceparent`, valid; "" = none */
    char state[TC_TRACESTATE_MAX + 1];     /* `tracestate`, valid, of that parent; "" = none */
};

/* Takes foreign bytes. A malformed parent counts as none, and with it the state; a malformed or too long state as none
 * (3.2, 3.3, 4.3). A later version's parent becomes version 00 of the fields that we know. */
void tc_trace_take(struct tc_trace *t, struct tc_str parent, struct tc_str state);

/* As header lines, each ended by a newline; nothing without a parent. */
void tc_trace_put_headers(const struct tc_trace *t, struct tc_buf *out);

/* The last two fields of a log line; without a parent they end it. They borrow from t. */
#define TC_LTRACE(t) tc_trace_log_id(t), tc_trace_log_span(t)
struct tc_log_field tc_trace_log_id(const struct tc_trace *t);
struct tc_log_field tc_trace_log_span(const struct tc_trace *t);
/* Of lines that would be too many for every request: who traces one wants to see it. */
enum tc_log_level tc_trace_log_level(const struct tc_trace *t);

#endif
