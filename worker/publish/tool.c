/* Tool calls as they grow. Owned by one writer. */
#include "publish/tool.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct tool *find(const struct tools *t, uint32_t index) {
    for (size_t i = 0; i < t->count; i++)
        if (t->items[i].index == index)
            return &t->items[i];
    return NULL;
}

static int add(struct tools *t, uint32_t index, struct tool **out) {
    if (t->count == TOOLS_MAX)
        return TC_ETOOLARGE;
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 4;
        struct tool *items = realloc(t->items, cap * sizeof(*items));
        if (!items)
            return TC_ENOMEM;
        t->items = items;
        t->cap = cap;
    }
    struct tool *tool = &t->items[t->count++];
    memset(tool, 0, sizeof(*tool));
    tool->index = index;
    tc_buf_init(&tool->arguments, TOOL_ARGUMENTS_MAX);
    *out = tool;
    return 0;
}

void tools_fini(struct tools *t) {
    for (size_t i = 0; i < t->count; i++)
        tc_buf_fini(&t->items[i].arguments);
    free(t->items);
    memset(t, 0, sizeof(*t));
}

int tools_append(struct tools *t, uint32_t index, struct tc_str piece, uint64_t *offset) {
    struct tool *tool = find(t, index);
    if (!tool) {
        int rc = add(t, index, &tool);
        if (rc < 0)
            return rc;
    }
    if (tool->done)
        return TC_ESTATE;
    if (piece.n > TOOL_ARGUMENTS_MAX - tool->arguments.len)
        return TC_ETOOLARGE;
    tc_buf_put_str(&tool->arguments, piece);
    if (!tc_buf_ok(&tool->arguments)) {
        tool->arguments.failed = false; /* nothing of the piece was taken */
        return TC_ENOMEM;
    }
    *offset = tool->units;
    tool->units += tc_utf16_len(piece);
    return 0;
}

static json_t *parse(const struct tool *tool) {
    return json_loadb(tool->arguments.data ? tool->arguments.data : "", tool->arguments.len,
                      JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
}

/* Out of memory for a string jansson says "syntax error", so that only the second time it is believed: after there was
 * memory for more than a string of these. */
int tools_finish(struct tools *t, uint32_t index, bool *invalid) {
    struct tool *tool = find(t, index);
    *invalid = false;
    if (!tool || tool->done)
        return 0;
    json_t *value = parse(tool);
    if (!value) {
        void *probe = malloc(2 * tool->arguments.len + 1024);
        if (!probe)
            return TC_ENOMEM;
        free(probe);
        value = parse(tool);
    }
    *invalid = value == NULL;
    json_decref(value);
    tool->done = true;
    tc_buf_fini(&tool->arguments);
    return 0;
}

bool tools_is_empty(const struct tools *t, uint32_t index) {
    const struct tool *tool = find(t, index);
    return !tool || tool->units == 0;
}
