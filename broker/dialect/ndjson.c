/* One JSON object a line; `position` is what `?after=` takes. */
#include "dialect/dialect.h"
#include "tokencast/error.h"
#include "wire/json.h"

static int ndjson_event(struct tc_buf *out, const struct dialect_event *in) {
    struct tc_buf members = {0};
    tc_buf_append(&members, "\"position\":", 11);
    tc_json_string(&members, in->id);
    tc_buf_putc(&members, ',');
    if (in->extra != NULL)
        tc_buf_puts(&members, in->extra);
    tc_buf_putc(&members, '\0');
    if (!tc_buf_ok(&members)) {
        tc_buf_fini(&members);
        return TC_ENOMEM;
    }
    int err = tc_event_to_json(out, in->ev, in->raw.p, in->raw.n, members.data);
    tc_buf_fini(&members);
    if (err == 0)
        tc_buf_putc(out, '\n');
    return err;
}

static void ndjson_control(struct tc_buf *out, const struct dialect_control *in) {
    struct tc_str rest = in->json;
    if (in->id.n > 0) {
        tc_buf_append(out, "{\"position\":", 12);
        tc_json_string(out, in->id);
        tc_buf_putc(out, ',');
        rest = (struct tc_str){rest.p + 1, rest.n - 1}; /* behind its brace */
    }
    tc_buf_put_str(out, rest);
    tc_buf_putc(out, '\n');
}

const struct dialect dialect_ndjson = {
    .name = "ndjson",
    .content_type = "application/x-ndjson",
    .heartbeat = {"{\"type\":\"ping\"}\n", 16},
    .event = ndjson_event,
    .control = ndjson_control,
};
