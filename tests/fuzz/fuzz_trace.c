/* Trace context from any bytes: up to the first newline the parent, behind it the state. What is taken is what came,
 * and makes header lines that nothing hides in. */
#include "wire/trace.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

static void check_parent(const struct tc_trace *t, struct tc_str given) {
    must(strlen(t->parent) == TC_TRACEPARENT_BYTES && given.n >= TC_TRACEPARENT_BYTES);
    must(strspn(t->parent, "0123456789abcdef-") == TC_TRACEPARENT_BYTES && memcmp(t->parent, "00-", 3) == 0);
    if (memcmp(given.p, "00", 2) == 0)
        must(tc_str_is(given, t->parent));
    else
        must(memcmp(given.p + 2, t->parent + 2, TC_TRACEPARENT_BYTES - 4) == 0);
}

static void check_state(const struct tc_trace *t, struct tc_str given) {
    must(t->parent[0] != '\0' && tc_str_is(given, t->state) && given.n <= TC_TRACESTATE_MAX);
    for (const char *c = t->state; *c; c++)
        must((*c >= ' ' && *c <= '~') || *c == '\t');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *text = (const char *)data, *end = size ? memchr(text, '\n', size) : NULL;
    size_t n = end ? (size_t)(end - text) : size, skip = end ? n + 1 : n;
    struct tc_str parent = {text, n}, state = {text + skip, size - skip};
    struct tc_trace t, again;
    struct tc_buf lines = {0};
    tc_trace_take(&t, parent, state);
    if (t.parent[0] != '\0')
        check_parent(&t, parent);
    if (t.state[0] != '\0')
        check_state(&t, state);
    tc_trace_take(&again, tc_str_from(t.parent), tc_str_from(t.state));
    must(strcmp(again.parent, t.parent) == 0 && strcmp(again.state, t.state) == 0);
    tc_trace_put_headers(&t, &lines);
    unsigned newlines = 0;
    for (size_t i = 0; i < lines.len; i++)
        newlines += lines.data[i] == '\n';
    must(newlines == (t.parent[0] != '\0') + (t.state[0] != '\0'));
    tc_buf_fini(&lines);
    return 0;
}
