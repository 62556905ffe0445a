/* The bare text of the answer (kind text, index 0) and nothing else. It cannot say that something is missing, so its
 * readers never get gaps: they are caught up with merged text, or cut off with an unfinished body. */
#include "dialect/dialect.h"

static int text_event(struct tc_buf *out, const struct dialect_event *in) {
    const struct tc_event *ev = in->ev;
    if (ev->type == TC_EV_DELTA && ev->kind == TC_KIND_TEXT && ev->index == 0)
        tc_buf_put_str(out, ev->text);
    return 0;
}

static void text_control(struct tc_buf *out, const struct dialect_control *in) {
    (void)out;
    (void)in;
}

const struct dialect dialect_text = {
    .name = "text",
    .content_type = "text/plain; charset=utf-8",
    .append_only = true,
    .event = text_event,
    .control = text_control,
};
