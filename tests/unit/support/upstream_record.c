/* See upstream_record.h. */
#include "upstream_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
/* cmocka.h wants the two above first. */
#include <cmocka.h>

void upstream_record_init(struct upstream_record *r) {
    memset(r, 0, sizeof(*r));
    tc_buf_init(&r->lines, 0);
    tc_buf_init(&r->text, 0);
    tc_buf_init(&r->reasoning, 0);
}

void upstream_record_fini(struct upstream_record *r) {
    tc_buf_fini(&r->lines);
    tc_buf_fini(&r->text);
    tc_buf_fini(&r->reasoning);
    json_decref(r->usage);
    r->usage = NULL;
}

static void put_line(struct upstream_record *r, json_t *line) {
    char *text = json_dumps(line, JSON_COMPACT | JSON_SORT_KEYS);

    assert_non_null(text);
    tc_buf_puts(&r->lines, text);
    tc_buf_putc(&r->lines, '\n');
    free(text);
    json_decref(line);
    if (r->hook)
        r->hook(r->hook_arg);
}

static json_t *string(struct tc_str s) {
    json_t *out = json_stringn(s.n ? s.p : "", s.n);
    assert_non_null(out); /* NULL: not UTF-8 */
    return out;
}

void upstream_record_begin(void *arg, const char *model) {
    struct upstream_record *r = arg;
    r->begins++;
    put_line(r, json_pack("{s:s, s:s?}", "call", "begin", "model", model));
}

void upstream_record_wait(void *arg, const char *why, uint64_t delay_ms, int retry) {
    struct upstream_record *r = arg;
    r->waits++;
    r->wait_ms = delay_ms;
    snprintf(r->wait_why, sizeof(r->wait_why), "%s", why);
    /* Not the delay: it has jitter. */
    put_line(r, json_pack("{s:s, s:i}", "call", "wait", "retry", retry));
}

void upstream_record_text(void *arg, enum tc_kind kind, uint32_t index, struct tc_str text) {
    struct upstream_record *r = arg;
    r->texts++;
    if (index == 0)
        tc_buf_put_str(kind == TC_KIND_TEXT ? &r->text : &r->reasoning, text);
    put_line(r, json_pack("{s:s, s:s, s:i, s:o}", "call", "text", "kind", kind == TC_KIND_TEXT ? "text" : "reasoning",
                          "index", (int)index, "text", string(text)));
}

void upstream_record_tool(void *arg, uint32_t index, struct tc_str id, struct tc_str name, struct tc_str arguments,
                          bool done) {
    struct upstream_record *r = arg;
    r->tools++;
    put_line(r, json_pack("{s:s, s:i, s:o, s:o, s:o, s:b}", "call", "tool", "index", (int)index, "id", string(id),
                          "name", string(name), "arguments", string(arguments), "done", (int)done));
}

void upstream_record_note(void *arg, const char *kind, struct tc_str text, json_t *data) {
    struct upstream_record *r = arg;
    put_line(r, json_pack("{s:s, s:s, s:o, s:O?}", "call", "note", "kind", kind, "text", string(text), "data", data));
}

void upstream_record_end(struct upstream_record *r, const char *reason, const char *code, const char *message,
                         bool recoverable, uint64_t retry_after_ms, json_t *usage) {
    r->ends++;
    snprintf(r->reason, sizeof(r->reason), "%s", reason ? reason : "");
    snprintf(r->code, sizeof(r->code), "%s", code ? code : "");
    snprintf(r->message, sizeof(r->message), "%s", message ? message : "");
    r->recoverable = recoverable;
    r->retry_after_ms = retry_after_ms;
    json_decref(r->usage);
    r->usage = json_incref(usage);
    json_t *line = code ? json_pack("{s:s, s:s, s:s, s:s, s:b}", "call", "end", "reason", reason, "code", code,
                                    "message", message, "recoverable", (int)recoverable)
                        : json_pack("{s:s, s:s, s:O?}", "call", "end", "reason", reason, "usage", usage);
    put_line(r, line);
}
