/* See openai_stream.h. Differences that shaped it:
 * - vLLM: finish_reason rides on the last content; reasoning in `reasoning`, formerly `reasoning_content`, for a while
 *   in both; an error in mid-stream is followed by [DONE], which therefore says nothing about success.
 * - TGI: empty id, role on every delta; bare {"error": "…", "error_type": "…"}.
 * - Ollama: whole tool calls, at times without an index.
 * - llama.cpp: content null at first. Mistral: content as a list of parts. */
#include "provider/openai_stream.h"

#include "provider/fault.h"
#include "provider/foreign.h"

#include <stdlib.h>

static void take_fault(struct answer *a, const struct fault *f) {
    struct tc_str said = f->message.n > 0 ? f->message : TC_STR("The model server reported an error.");
    answer_fail(a, "upstream_error", said, f->recoverable, f->recoverable);
}

static void take_parts(struct answer *a, enum tc_kind kind, uint32_t choice, const json_t *content);

/* {"type":"text","text":…} or {"type":"thinking","thinking":[…]} */
static void take_part(struct answer *a, enum tc_kind kind, uint32_t choice, const json_t *part) {
    const json_t *thinking = json_object_get(part, "thinking");

    if (json_is_string(thinking))
        answer_text(a, TC_KIND_REASONING, choice, foreign_value(thinking));
    else if (thinking && kind == TC_KIND_TEXT)
        take_parts(a, TC_KIND_REASONING, choice, thinking);
    else
        answer_text(a, kind, choice, foreign_str(part, "text"));
}

static void take_parts(struct answer *a, enum tc_kind kind, uint32_t choice, const json_t *content) {
    if (json_is_string(content)) {
        answer_text(a, kind, choice, foreign_value(content));
        return;
    }
    for (size_t i = 0; i < json_array_size(content); i++)
        take_part(a, kind, choice, json_array_get(content, i));
}

static void take_function(struct answer *a, uint32_t choice, int64_t key, struct tc_str id, const json_t *function) {
    const json_t *arguments = json_object_get(function, "arguments");
    struct tc_str name = foreign_str(function, "name");

    if (!json_is_object(arguments)) {
        answer_tool(a, choice, key, id, name, foreign_value(arguments));
        return;
    }
    char *text = json_dumps(arguments, JSON_COMPACT);
    if (text)
        answer_tool(a, choice, key, id, name, tc_str_from(text));
    else
        answer_broken(a, "The worker is out of memory.");
    free(text);
}

static void take_tools(struct answer *a, uint32_t choice, const json_t *tools) {
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *call = json_array_get(tools, i);
        const json_t *index = json_object_get(call, "index");
        int64_t key = json_is_integer(index) && json_integer_value(index) >= 0 ? json_integer_value(index) : -1;
        take_function(a, choice, key, foreign_str(call, "id"), json_object_get(call, "function"));
    }
}

static void take_annotations(struct answer *a, const json_t *list) {
    for (size_t i = 0; i < json_array_size(list); i++)
        answer_note(a, "citation", TC_STR(""), json_array_get(list, i));
}

/* `delta` of a chunk, or `message` of a whole answer. */
static void take_delta(struct answer *a, uint32_t choice, const json_t *delta) {
    const json_t *reasoning = json_object_get(delta, "reasoning_content");
    const json_t *legacy = json_object_get(delta, "function_call");

    if (!json_is_string(reasoning))
        reasoning = json_object_get(delta, "reasoning");
    if (json_is_string(reasoning))
        answer_text(a, TC_KIND_REASONING, choice, foreign_value(reasoning));
    take_parts(a, TC_KIND_TEXT, choice, json_object_get(delta, "content"));
    answer_text(a, TC_KIND_TEXT, choice, foreign_str(delta, "refusal"));
    take_tools(a, choice, json_object_get(delta, "tool_calls"));
    if (json_is_object(legacy))
        take_function(a, choice, 0, TC_STR(""), legacy);
    take_annotations(a, json_object_get(delta, "annotations"));
}

static void take_choice(struct answer *a, const json_t *choice) {
    json_int_t index = json_integer_value(json_object_get(choice, "index"));
    const json_t *delta = json_object_get(choice, "delta");
    struct tc_str finish = foreign_str(choice, "finish_reason");

    if (index < 0 || index >= ANSWER_CHOICES_MAX) {
        answer_broken(a, "The model server numbered an answer out of range.");
        return;
    }
    if (!json_is_object(delta))
        delta = json_object_get(choice, "message");
    take_delta(a, (uint32_t)index, delta);
    if (finish.n > 0)
        answer_finish(a, (uint32_t)index, finish);
}

static void take_chunk(struct answer *a, const json_t *root, bool sure) {
    const json_t *choices = json_object_get(root, "choices");
    struct fault fault;

    if (fault_read(&fault, root, sure)) {
        take_fault(a, &fault);
        return;
    }
    answer_begin(a, foreign_str(root, "model"));
    for (size_t i = 0; i < json_array_size(choices); i++)
        take_choice(a, json_array_get(choices, i));
    answer_usage(a, json_object_get(root, "usage"));
}

void openai_stream_event(struct answer *a, struct tc_str name, struct tc_str data) {
    if (data.n == 0)
        return;
    if (tc_str_is(data, "[DONE]")) {
        a->alive = a->ended = true;
        return;
    }
    json_t *root = foreign_json(data);
    if (json_is_object(root))
        take_chunk(a, root, tc_str_is(name, "error"));
    else
        answer_broken(a, "The model server sent an event that is not JSON.");
    json_decref(root);
}

void openai_stream_whole(struct answer *a, const json_t *root) {
    take_chunk(a, root, false);
    a->ended = true;
}
