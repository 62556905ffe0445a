/* See anthropic_messages.h. jansson's setters accept NULL values by failing, so that a failed allocation drops a member
 * rather than crashing; whoever asked for the body looks at tc_json_failures() and does not send it. */
#include "provider/anthropic_messages.h"

#include "provider/foreign.h"

#include <string.h>

static bool role_is(const json_t *message, const char *role) {
    return tc_str_is(foreign_str(message, "role"), role);
}

/* data:image/png;base64,AAAA is sent along, anything else is fetched by Anthropic. */
static json_t *image_source(struct tc_str url) {
    const char *comma = url.n > 5 && memcmp(url.p, "data:", 5) == 0 ? memchr(url.p, ',', url.n) : NULL;
    const char *semi = comma ? memchr(url.p, ';', (size_t)(comma - url.p)) : NULL;

    if (!semi)
        return json_pack("{s:s, s:s%}", "type", "url", "url", url.p, url.n);
    size_t after = url.n - (size_t)(comma + 1 - url.p);
    return json_pack("{s:s, s:s%, s:s%}", "type", "base64", "media_type", url.p + 5, (size_t)(semi - url.p - 5), "data",
                     comma + 1, after);
}

static json_t *block_of(json_t *part) {
    if (!tc_str_is(foreign_str(part, "type"), "image_url"))
        return json_incref(part);
    const json_t *image = json_object_get(part, "image_url");
    struct tc_str url = json_is_string(image) ? foreign_value(image) : foreign_str(image, "url");
    return json_pack("{s:s, s:o}", "type", "image", "source", image_source(url));
}

/* Appends `content` (a string or a list of parts) to a list of blocks. Anthropic refuses empty text. */
static void add_content(json_t *blocks, json_t *content) {
    size_t i;
    json_t *part;

    if (json_string_length(content) > 0)
        json_array_append_new(blocks, json_pack("{s:s, s:O}", "type", "text", "text", content));
    json_array_foreach(content, i, part) {
        json_array_append_new(blocks, block_of(part));
    }
}

static void add_tool_uses(json_t *blocks, const json_t *calls) {
    for (size_t i = 0; i < json_array_size(calls); i++) {
        const json_t *call = json_array_get(calls, i), *function = json_object_get(call, "function");
        json_t *input = foreign_json(foreign_str(function, "arguments"));
        struct tc_str id = foreign_str(call, "id"), name = foreign_str(function, "name");
        if (!json_is_object(input)) {
            json_decref(input);
            input = json_object();
        }
        json_array_append_new(blocks, json_pack("{s:s, s:s%, s:s%, s:o}", "type", "tool_use", "id", id.p, id.n, "name",
                                                name.p, name.n, "input", input));
    }
}

/* What a tool answered goes to Anthropic as the user's turn; answers to parallel calls share one turn. */
static void add_tool_result(json_t *out, const json_t *message) {
    json_t *last = json_array_get(out, json_array_size(out) - 1);
    json_t *blocks = role_is(last, "user") ? json_object_get(last, "content") : NULL;
    struct tc_str id = foreign_str(message, "tool_call_id");
    bool joins = json_is_array(blocks) &&
                 tc_str_is(foreign_str(json_array_get(blocks, json_array_size(blocks) - 1), "type"), "tool_result");

    if (!joins) {
        blocks = json_array();
        json_array_append_new(out, json_pack("{s:s, s:o}", "role", "user", "content", blocks));
    }
    json_t *result = json_pack("{s:s, s:s%}", "type", "tool_result", "tool_use_id", id.p, id.n);
    json_t *content = json_object_get(message, "content");
    if (json_is_string(content)) {
        json_object_set(result, "content", content);
    } else if (json_is_array(content)) {
        json_t *parts = json_array();
        add_content(parts, content);
        json_object_set_new(result, "content", parts);
    }
    json_array_append_new(blocks, result);
}

static void add_message(json_t *out, const json_t *message) {
    json_t *content = json_object_get(message, "content");
    json_t *calls = json_object_get(message, "tool_calls");
    const char *role = role_is(message, "assistant") ? "assistant" : "user";

    if (json_is_string(content) && json_array_size(calls) == 0) {
        json_array_append_new(out, json_pack("{s:s, s:O}", "role", role, "content", content));
        return;
    }
    json_t *blocks = json_array();
    add_content(blocks, content);
    add_tool_uses(blocks, calls);
    json_array_append_new(out, json_pack("{s:s, s:o}", "role", role, "content", blocks));
}

static void add_system(json_t **system, json_t *content) {
    if (!*system)
        *system = json_array();
    if (json_is_string(*system)) {
        json_t *blocks = json_array();
        add_content(blocks, *system);
        json_decref(*system);
        *system = blocks;
    }
    add_content(*system, content);
}

json_t *anthropic_messages(const json_t *messages, json_t **system) {
    json_t *out = json_array();

    for (size_t i = 0; i < json_array_size(messages); i++) {
        const json_t *message = json_array_get(messages, i);
        if (role_is(message, "system") || role_is(message, "developer"))
            add_system(system, json_object_get(message, "content"));
        else if (role_is(message, "tool"))
            add_tool_result(out, message);
        else
            add_message(out, message);
    }
    return out;
}

json_t *anthropic_tools(const json_t *tools) {
    json_t *out = json_array();

    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = json_array_get(tools, i), *function = json_object_get(tool, "function");
        if (!json_is_object(function)) {
            json_array_append(out, tool);
            continue;
        }
        json_t *schema = json_object_get(function, "parameters");
        json_t *made = json_object();
        json_object_set(made, "name", json_object_get(function, "name"));
        if (json_is_string(json_object_get(function, "description")))
            json_object_set(made, "description", json_object_get(function, "description"));
        if (json_is_object(schema))
            json_object_set(made, "input_schema", schema);
        else
            json_object_set_new(made, "input_schema", json_pack("{s:s, s:{}}", "type", "object", "properties"));
        json_array_append_new(out, made);
    }
    return out;
}

json_t *anthropic_tool_choice(json_t *choice) {
    struct tc_str word = foreign_value(choice);
    struct tc_str name = foreign_str(json_object_get(choice, "function"), "name");

    if (tc_str_is(word, "required"))
        return json_pack("{s:s}", "type", "any");
    if (tc_str_is(word, "auto") || tc_str_is(word, "none") || tc_str_is(word, "any"))
        return json_pack("{s:s%}", "type", word.p, word.n);
    if (name.n > 0)
        return json_pack("{s:s, s:s%}", "type", "tool", "name", name.p, name.n);
    return json_is_object(choice) ? json_incref(choice) : NULL;
}
