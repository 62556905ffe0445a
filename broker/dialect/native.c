/* Native SSE (WHATWG HTML, "Server-sent events"). The id line comes last: clients commit the id when they read the
 * line, and with it first nearly every cut inside the event loses data (docs/rationale.md). The heartbeat is a comment
 * without a blank line after it, which would dispatch an empty message in some clients. */
#include "dialect/dialect.h"

static int native_event(struct tc_buf *out, const struct dialect_event *in) {
    size_t mark = out->len;
    tc_buf_append(out, "event: ", 7);
    tc_buf_put_str(out, in->ev->type_name);
    tc_buf_append(out, "\ndata: ", 7);
    int err = tc_event_to_json(out, in->ev, in->raw.p, in->raw.n, in->extra);
    if (err != 0) {
        out->len = mark;
        return err;
    }
    tc_buf_append(out, "\nid: ", 5);
    tc_buf_put_str(out, in->id);
    tc_buf_append(out, "\n\n", 2);
    return 0;
}

static void native_control(struct tc_buf *out, const struct dialect_control *in) {
    tc_buf_append(out, "event: ", 7);
    tc_buf_puts(out, in->type);
    if (in->retry_ms > 0) {
        tc_buf_append(out, "\nretry: ", 8);
        tc_buf_put_u64(out, in->retry_ms);
    }
    tc_buf_append(out, "\ndata: ", 7);
    tc_buf_put_str(out, in->json);
    if (in->id.n > 0) {
        tc_buf_append(out, "\nid: ", 5);
        tc_buf_put_str(out, in->id);
    }
    tc_buf_append(out, "\n\n", 2);
}

const struct dialect dialect_native = {
    .name = "sse",
    .content_type = "text/event-stream",
    .heartbeat = {":\n", 2},
    .event = native_event,
    .control = native_control,
};
