/* Requests to Anthropic Messages. Pure; answers are read in anthropic_stream.c. */
#include "provider/dialect.h"

#include "provider/anthropic_messages.h"
#include "provider/anthropic_stream.h"
#include "provider/foreign.h"
#include "provider/request.h"
#include "tokencast/error.h"
#include "wire/json.h"

#include <string.h>

#define MAX_TOKENS_DEFAULT 4096

static void put_url(struct tc_buf *out, struct tc_str base) {
    tc_buf_put_str(out, base);
    tc_buf_puts(out, base.n >= 3 && memcmp(base.p + base.n - 3, "/v1", 3) == 0 ? "/messages" : "/v1/messages");
}

static void put_headers(struct tc_buf *out, const char *key) {
    if (key)
        tc_buf_printf(out, "x-api-key: %s\n", key);
    tc_buf_puts(out, "anthropic-version: 2023-06-01\n");
}

/* What only OpenAI knows: Anthropic refuses a request with members that it does not. */
static const char *const not_theirs[] = {"stream",
                                         "model",
                                         "messages",
                                         "prompt",
                                         "stream_options",
                                         "n",
                                         "logprobs",
                                         "top_logprobs",
                                         "logit_bias",
                                         "frequency_penalty",
                                         "presence_penalty",
                                         "seed",
                                         "response_format",
                                         "reasoning_effort",
                                         "store",
                                         "modalities",
                                         "prediction",
                                         "verbosity",
                                         "functions",
                                         "function_call",
                                         NULL};

static void move_member(json_t *body, const char *from, const char *to) {
    json_t *value = json_object_get(body, from);

    if (value && !json_object_get(body, to))
        json_object_set(body, to, value);
    json_object_del(body, from);
}

static void translate_limits(json_t *body) {
    move_member(body, "max_completion_tokens", "max_tokens");
    if (!json_is_integer(json_object_get(body, "max_tokens")))
        json_object_set_new(body, "max_tokens", json_integer(MAX_TOKENS_DEFAULT));
    move_member(body, "stop", "stop_sequences");
    json_t *stop = json_object_get(body, "stop_sequences");
    if (json_is_string(stop))
        json_object_set_new(body, "stop_sequences", json_pack("[O]", stop));
    /* OpenAI's scale ends at 2, Anthropic's at 1. */
    if (json_number_value(json_object_get(body, "temperature")) > 1)
        json_object_set_new(body, "temperature", json_real(1));
}

static void translate_tools(json_t *body) {
    json_t *parallel = json_incref(json_object_get(body, "parallel_tool_calls"));
    json_t *choice = json_object_get(body, "tool_choice");

    json_object_del(body, "parallel_tool_calls");
    if (json_array_size(json_object_get(body, "tools")) == 0) {
        json_object_del(body, "tools");
        json_object_del(body, "tool_choice");
        json_decref(parallel);
        return;
    }
    json_object_set_new(body, "tools", anthropic_tools(json_object_get(body, "tools")));
    choice = choice ? anthropic_tool_choice(choice) : NULL;
    if (!choice && json_is_false(parallel))
        choice = json_pack("{s:s}", "type", "auto");
    if (choice && json_is_false(parallel)) {
        json_t *own = json_copy(choice);
        json_object_set_new(own, "disable_parallel_tool_use", json_true());
        json_decref(choice);
        choice = own;
    }
    json_object_del(body, "tool_choice");
    if (choice)
        json_object_set_new(body, "tool_choice", choice);
    json_decref(parallel);
}

static void translate_user(json_t *body) {
    json_t *user = json_object_get(body, "user");

    if (json_is_string(user) && !json_object_get(body, "metadata"))
        json_object_set_new(body, "metadata", json_pack("{s:O}", "user_id", user));
    json_object_del(body, "user");
}

static int build_body(json_t **out, const json_t *request, const char *model) {
    unsigned failures = tc_json_failures();
    json_t *messages = request_messages(request);

    model = request_model(request, model);
    if (!messages || !model) {
        json_decref(messages);
        return tc_json_failures() != failures ? TC_ENOMEM : TC_EINVAL;
    }
    json_t *body = request_options(request, not_theirs);
    json_t *system = json_copy(json_object_get(body, "system")); /* it grows; the request must not */
    json_t *turns = anthropic_messages(messages, &system);
    json_decref(messages);
    if (json_array_size(system) > 0 || json_is_string(system))
        json_object_set(body, "system", system);
    json_decref(system);
    translate_limits(body);
    translate_tools(body);
    translate_user(body);
    int rc = json_object_set_new(body, "messages", turns);
    rc |= json_object_set_new(body, "model", json_string(model));
    rc |= json_object_set_new(body, "stream", json_true());
    if (rc != 0 || tc_json_failures() != failures) {
        json_decref(body);
        return TC_ENOMEM;
    }
    *out = body;
    return 0;
}

/* With these the model thinks or calls a tool first, or the answer has a grammar. */
static const char *const unfit[] = {"thinking",      "tools",         "mcp_servers", "container",
                                    "output_config", "output_format", NULL};

/* Anthropic goes on from a last turn of the assistant; models that do not take one refuse it, which is noticed. */
const struct dialect dialect_anthropic = {
    .prefill = PREFILL_TURN,
    .unfit = unfit,
    .url = put_url,
    .headers = put_headers,
    .body = build_body,
    .event = anthropic_stream_event,
    .whole = anthropic_stream_whole,
};
