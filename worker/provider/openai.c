/* Requests to OpenAI Chat Completions and everything that speaks it: vLLM, TGI, Ollama, llama.cpp, SGLang, routers.
 * Pure; answers are read in openai_stream.c. */
#include "provider/dialect.h"

#include "provider/openai_stream.h"
#include "provider/request.h"
#include "tokencast/error.h"
#include "wire/json.h"

static void put_url(struct tc_buf *out, struct tc_str base) {
    tc_buf_put_str(out, base);
    tc_buf_puts(out, "/chat/completions");
}

static void put_headers(struct tc_buf *out, const char *key) {
    if (key)
        tc_buf_printf(out, "Authorization: Bearer %s\n", key);
}

/* The usage chunk is always asked for; what else the client wants of stream_options stays. */
static void ask_for_usage(json_t *body) {
    json_t *wanted = json_object_get(body, "stream_options");

    if (json_is_object(wanted)) {
        wanted = json_copy(wanted);
        json_object_set_new(wanted, "include_usage", json_true());
    } else {
        wanted = json_pack("{s:b}", "include_usage", 1);
    }
    json_object_set_new(body, "stream_options", wanted);
}

static int build_body(json_t **out, const json_t *request, const char *model) {
    static const char *const ours[] = {"stream", "model", "messages", "prompt", NULL};
    unsigned failures = tc_json_failures();
    json_t *messages = request_messages(request);

    model = request_model(request, model);
    if (!messages || !model) {
        json_decref(messages);
        return tc_json_failures() != failures ? TC_ENOMEM : TC_EINVAL;
    }
    json_t *body = request_options(request, ours);
    int rc = json_object_set_new(body, "messages", messages);
    rc |= json_object_set_new(body, "model", json_string(model));
    rc |= json_object_set_new(body, "stream", json_true());
    ask_for_usage(body);
    if (rc != 0 || tc_json_failures() != failures) {
        json_decref(body);
        return TC_ENOMEM;
    }
    *out = body;
    return 0;
}

/* A grammar would begin again in the middle, a tool call may have been about to begin, echo says the prefix twice. */
static const char *const unfit[] = {"tools",
                                    "functions",
                                    "response_format",
                                    "guided_json",
                                    "guided_regex",
                                    "guided_choice",
                                    "guided_grammar",
                                    "structured_outputs",
                                    "grammar",
                                    "json_schema",
                                    "echo",
                                    "prediction",
                                    "add_generation_prompt",
                                    "continue_final_message",
                                    NULL};

/* Chat Completions has no way to go on from half an answer that every server understands the same: vLLM takes
 * continue_final_message, llama.cpp a last turn of the assistant, others begin a second answer. The operator says. */
const struct dialect dialect_openai = {
    .parallel = true,
    .prefill = PREFILL_NEVER,
    .unfit = unfit,
    .url = put_url,
    .headers = put_headers,
    .body = build_body,
    .event = openai_stream_event,
    .whole = openai_stream_whole,
};
