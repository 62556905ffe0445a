/* See trace.h. Pure; loop thread not needed. */
#include "api/trace.h"

/* Two parents: nobody can say which one is meant. */
static struct tc_str only_parent(const struct http_request *req) {
    struct tc_str found = {NULL, 0};
    for (size_t i = 0; i < req->field_count; i++) {
        if (!tc_str_is(req->fields[i].name, "traceparent"))
            continue;
        if (found.p != NULL)
            return (struct tc_str){NULL, 0};
        found = req->fields[i].value;
    }
    return found;
}

/* A list may come in several fields, in order (RFC 9110, 5.3). */
static void join_states(const struct http_request *req, struct tc_buf *out) {
    for (size_t i = 0; i < req->field_count; i++) {
        if (!tc_str_is(req->fields[i].name, "tracestate") || req->fields[i].value.n == 0)
            continue;
        if (out->len > 0)
            tc_buf_putc(out, ',');
        tc_buf_put_str(out, req->fields[i].value);
    }
}

void trace_take(struct tc_trace *t, const struct http_request *req) {
    char room[TC_TRACESTATE_MAX];
    struct tc_buf state = {.data = room, .cap = sizeof(room), .max = sizeof(room)};
    join_states(req, &state);
    tc_trace_take(t, only_parent(req), tc_buf_ok(&state) ? tc_buf_str(&state) : (struct tc_str){NULL, 0});
}
