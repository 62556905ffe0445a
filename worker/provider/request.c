/* See request.h. */
#include "provider/request.h"

#include <string.h>

json_t *request_messages(const json_t *request) {
    json_t *messages = json_object_get(request, "messages");
    json_t *prompt = json_object_get(request, "prompt");

    if (json_array_size(messages) > 0)
        return json_incref(messages);
    if (!json_is_string(prompt))
        return NULL;
    return json_pack("[{s:s, s:O}]", "role", "user", "content", prompt);
}

const char *request_model(const json_t *request, const char *fallback) {
    const char *model = json_string_value(json_object_get(request, "model"));
    if (!model || !*model)
        model = fallback;
    return model && *model ? model : NULL;
}

static bool is_named(const char *name, const char *const *list) {
    for (; *list; list++) {
        if (strcmp(name, *list) == 0)
            return true;
    }
    return false;
}

json_t *request_options(const json_t *request, const char *const *without) {
    json_t *options = json_object_get(request, "options");
    json_t *out = json_object(), *value;
    const char *name;

    json_object_foreach(options, name, value) {
        if (!json_is_null(value) && !is_named(name, without))
            json_object_set(out, name, value);
    }
    return out;
}

uint32_t request_choices(const json_t *request) {
    json_int_t n = json_integer_value(json_object_get(json_object_get(request, "options"), "n"));
    return n < 1 ? 1 : n > 128 ? 128 : (uint32_t)n;
}
