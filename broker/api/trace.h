/* What a request's headers say of the trace that it belongs to. */
#ifndef BROKER_API_TRACE_H
#define BROKER_API_TRACE_H

#include "http/http.h"
#include "wire/trace.h"

/* Never a reason to refuse a request: what is malformed counts as not there. */
void trace_take(struct tc_trace *t, const struct http_request *req);

#endif
