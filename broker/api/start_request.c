/* See request.h. */
#include "api/start_request.h"

#include "tokencast/error.h"
#include "wire/json.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ABANDON_MS (24 * 3600 * 1000LL)

/* Copies an optional string member. */
static int text_member(const json_t *body, const char *key, char *out, size_t size) {
    const json_t *v = json_object_get(body, key);
    if (v == NULL || json_is_null(v))
        return 0;
    if (!json_is_string(v) || json_string_length(v) >= size || strlen(json_string_value(v)) != json_string_length(v))
        return TC_EINVAL;
    memcpy(out, json_string_value(v), json_string_length(v) + 1);
    return 0;
}

static int check_abandon(struct start_request *r, const json_t *v) {
    r->on_abandon_ms = -1;
    if (v == NULL || json_is_null(v) || (json_is_string(v) && strcmp(json_string_value(v), "continue") == 0))
        return 0;
    const json_t *ms = json_object_get(v, "cancel_after_ms");
    if (!json_is_integer(ms) || json_integer_value(ms) < 0 || json_integer_value(ms) > MAX_ABANDON_MS)
        return TC_EINVAL;
    r->on_abandon_ms = json_integer_value(ms);
    return 0;
}

static int check_prompt(const json_t *body, const char **why) {
    const json_t *messages = json_object_get(body, "messages"), *prompt = json_object_get(body, "prompt");
    const json_t *options = json_object_get(body, "options");
    *why = "messages must be a list of objects, or prompt a string";
    if ((messages == NULL) == (prompt == NULL) || (prompt != NULL && !json_is_string(prompt)))
        return TC_EINVAL;
    if (messages != NULL && (!json_is_array(messages) || json_array_size(messages) == 0))
        return TC_EINVAL;
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message) {
        if (!json_is_object(message))
            return TC_EINVAL;
    }
    *why = "options must be an object";
    return options == NULL || json_is_object(options) ? 0 : TC_EINVAL;
}

static int check(struct start_request *r, const json_t *body, const char **why) {
    *why = "the body must be a JSON object";
    if (!json_is_object(body))
        return TC_EINVAL;
    int err = check_prompt(body, why);
    if (err != 0)
        return err;
    *why = "id must be 1 to 64 of A-Z a-z 0-9 _ -";
    if (text_member(body, "id", r->id, sizeof r->id) != 0 || (r->id[0] && !tc_id_valid(tc_str_from(r->id))))
        return TC_EINVAL;
    *why = "channel must be 1 to 64 of A-Z a-z 0-9 _ -";
    if (text_member(body, "channel", r->channel, sizeof r->channel) != 0 ||
        (r->channel[0] && !tc_id_valid(tc_str_from(r->channel))))
        return TC_EINVAL;
    *why = "model must be a string of at most 128 bytes";
    if (text_member(body, "model", r->model, sizeof r->model) != 0)
        return TC_EINVAL;
    *why = "on_crash is one of continue, restart, fail";
    memcpy(r->on_crash, "continue", 9);
    if (text_member(body, "on_crash", r->on_crash, sizeof r->on_crash) != 0 ||
        (strcmp(r->on_crash, "continue") != 0 && strcmp(r->on_crash, "restart") != 0 &&
         strcmp(r->on_crash, "fail") != 0))
        return TC_EINVAL;
    *why = "on_abandon is \"continue\" or {\"cancel_after_ms\": milliseconds up to a day}";
    return check_abandon(r, json_object_get(body, "on_abandon"));
}

/* What is the broker's business does not travel on to the model server. */
static int keep_request(struct start_request *r, json_t *body) {
    static const char *const ours[] = {"id", "channel", "on_abandon", "on_crash"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        json_object_del(body, ours[i]);
    char *text = json_dumps(body, JSON_COMPACT);
    if (text == NULL)
        return TC_ENOMEM;
    tc_buf_puts(&r->request, text);
    free(text);
    return tc_buf_ok(&r->request) ? 0 : TC_ENOMEM;
}

int start_request_parse(struct start_request *r, struct tc_str body, const char **why) {
    *r = (struct start_request){.on_abandon_ms = -1};
    int err;
    json_t *json = tc_json_load(body, JSON_REJECT_DUPLICATES, NULL, &err);
    if (json == NULL) {
        *why = "the body is not valid JSON";
        return err == TC_ENOMEM ? err : TC_EINVAL;
    }
    err = check(r, json, why);
    if (err == 0)
        err = keep_request(r, json);
    json_decref(json);
    return err;
}

void start_request_fini(struct start_request *r) {
    tc_buf_fini(&r->request);
}
