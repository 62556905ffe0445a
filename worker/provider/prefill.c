/* See prefill.h. */
#include "provider/prefill.h"

#include "provider/foreign.h"
#include "provider/request.h"
#include "tokencast/error.h"

#include <stdbool.h>
#include <string.h>

enum prefill prefill_named(const char *word, enum prefill automatic) {
    if (!word || strcmp(word, "auto") == 0)
        return automatic;
    if (strcmp(word, "prefill") == 0)
        return PREFILL_TURN;
    return strcmp(word, "vllm") == 0 ? PREFILL_VLLM : PREFILL_NEVER;
}

/* Said in so many words that it is not wanted, or empty. */
static bool is_off(const json_t *value) {
    return !value || json_is_null(value) || json_is_false(value) ||
           (json_is_array(value) && json_array_size(value) == 0);
}

/* A client that prefilled a turn itself gets an answer behind that turn; ours would be a second one. */
static bool ends_with_assistant(const json_t *request) {
    json_t *messages = request_messages(request);
    const json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    bool yes = tc_str_is(foreign_str(last, "role"), "assistant");
    json_decref(messages);
    return yes;
}

static size_t without_white_end(struct tc_str said) {
    size_t n = said.n;
    while (n > 0 && said.p[n - 1] && strchr(" \t\r\n\v\f", said.p[n - 1]))
        n--;
    return n;
}

size_t prefill_length(const json_t *request, const char *const *unfit, struct tc_str said) {
    const json_t *options = json_object_get(request, "options");
    if (request_choices(request) > 1 || ends_with_assistant(request))
        return 0;
    for (; *unfit; unfit++) {
        if (!is_off(json_object_get(options, *unfit)))
            return 0;
    }
    return without_white_end(said);
}

int prefill_add(json_t *body, struct tc_str prefix, enum prefill how) {
    json_t *turns = json_copy(json_object_get(body, "messages"));
    int rc = json_array_append_new(turns, json_pack("{s:s, s:s%}", "role", "assistant", "content", prefix.p, prefix.n));
    rc |= json_object_set_new(body, "messages", turns);
    if (how == PREFILL_VLLM) {
        rc |= json_object_set_new(body, "add_generation_prompt", json_false());
        rc |= json_object_set_new(body, "continue_final_message", json_true());
    }
    return rc == 0 ? 0 : TC_ENOMEM;
}
