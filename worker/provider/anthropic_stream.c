/* See anthropic_stream.h. Content blocks become pieces: text and thinking are joined over blocks, a tool_use block is
 * a tool call, keyed by the block's index; what the server's own tools do becomes notes. */
#include "provider/anthropic_stream.h"

#include "provider/fault.h"
#include "provider/foreign.h"

#include <stdlib.h>

static void take_input(struct answer *a, int64_t key, const json_t *block) {
    const json_t *input = json_object_get(block, "input");
    bool some = json_object_size(input) > 0;
    char *text = some ? json_dumps(input, JSON_COMPACT) : NULL;

    if (some && !text)
        answer_broken(a, "The worker is out of memory.");
    answer_tool(a, 0, key, foreign_str(block, "id"), foreign_str(block, "name"), tc_str_from(text));
    free(text);
}

static void take_block(struct answer *a, int64_t key, json_t *block) {
    struct tc_str type = foreign_str(block, "type");

    if (tc_str_is(type, "text"))
        answer_text(a, TC_KIND_TEXT, 0, foreign_str(block, "text"));
    else if (tc_str_is(type, "thinking"))
        answer_text(a, TC_KIND_REASONING, 0, foreign_str(block, "thinking"));
    else if (tc_str_is(type, "tool_use"))
        take_input(a, key, block);
    else if (tc_str_is(type, "server_tool_use") || tc_str_is(type, "mcp_tool_use"))
        answer_note(a, "server_tool", foreign_str(block, "name"), block);
}

/* The argument pieces of a server tool meet no tool call of ours, and must not make one. */
static bool is_ours(const struct answer *a, int64_t key) {
    for (size_t i = 0; i < a->tool_count; i++) {
        if (a->tools[i].key == key)
            return true;
    }
    return false;
}

static void take_delta(struct answer *a, int64_t key, const json_t *delta) {
    struct tc_str type = foreign_str(delta, "type");
    struct tc_str none = {NULL, 0};

    if (tc_str_is(type, "text_delta"))
        answer_text(a, TC_KIND_TEXT, 0, foreign_str(delta, "text"));
    else if (tc_str_is(type, "thinking_delta"))
        answer_text(a, TC_KIND_REASONING, 0, foreign_str(delta, "thinking"));
    else if (tc_str_is(type, "input_json_delta") && is_ours(a, key))
        answer_tool(a, 0, key, none, none, foreign_str(delta, "partial_json"));
    else if (tc_str_is(type, "citations_delta"))
        answer_note(a, "citation", TC_STR(""), json_object_get(delta, "citation"));
}

static void take_fault(struct answer *a, const json_t *root) {
    struct fault f;

    if (!fault_read(&f, root, true) || f.message.n == 0)
        f.message = TC_STR("The model server reported an error.");
    answer_fail(a, "upstream_error", f.message, f.recoverable, f.recoverable);
}

static void take_start(struct answer *a, const json_t *message) {
    answer_begin(a, foreign_str(message, "model"));
    answer_usage(a, json_object_get(message, "usage"));
}

static void take_end(struct answer *a, const json_t *root) {
    struct tc_str reason = foreign_str(json_object_get(root, "delta"), "stop_reason");

    answer_usage(a, json_object_get(root, "usage"));
    if (reason.n > 0)
        answer_finish(a, 0, reason);
}

static void take_event(struct answer *a, struct tc_str type, const json_t *root) {
    const json_t *index = json_object_get(root, "index");
    int64_t key = json_is_integer(index) && json_integer_value(index) >= 0 ? json_integer_value(index) : 0;

    if (tc_str_is(type, "ping"))
        return;
    if (tc_str_is(type, "error") || json_is_object(json_object_get(root, "error"))) {
        take_fault(a, root);
        return;
    }
    a->alive = true;
    if (tc_str_is(type, "message_start"))
        take_start(a, json_object_get(root, "message"));
    else if (tc_str_is(type, "content_block_start"))
        take_block(a, key, json_object_get(root, "content_block"));
    else if (tc_str_is(type, "content_block_delta"))
        take_delta(a, key, json_object_get(root, "delta"));
    else if (tc_str_is(type, "content_block_stop"))
        answer_tool_close(a, 0, key);
    else if (tc_str_is(type, "message_delta"))
        take_end(a, root);
    else if (tc_str_is(type, "message_stop"))
        a->ended = true;
}

void anthropic_stream_event(struct answer *a, struct tc_str name, struct tc_str data) {
    if (data.n == 0)
        return;
    json_t *root = foreign_json(data);
    if (json_is_object(root)) {
        struct tc_str type = foreign_str(root, "type");
        take_event(a, type.n > 0 ? type : name, root);
    } else {
        answer_broken(a, "The model server sent an event that is not JSON.");
    }
    json_decref(root);
}

void anthropic_stream_whole(struct answer *a, const json_t *root) {
    const json_t *content = json_object_get(root, "content");
    struct tc_str reason = foreign_str(root, "stop_reason");

    if (!json_is_array(content)) {
        take_fault(a, root);
        return;
    }
    take_start(a, root);
    for (size_t i = 0; i < json_array_size(content); i++)
        take_block(a, (int64_t)i, json_array_get(content, i));
    if (reason.n > 0)
        answer_finish(a, 0, reason);
    a->ended = true;
}
