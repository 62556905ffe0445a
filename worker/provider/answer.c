/* See answer.h. Loop thread (or none: the fuzz targets); owned by a call. */
#include "provider/answer.h"

#include "base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void answer_init(struct answer *a, const struct provider_sink *sink, void *arg, const char *gen, uint32_t choices) {
    memset(a, 0, sizeof(*a));
    a->sink = sink;
    a->arg = arg;
    a->gen = gen;
    a->choices = choices < 1 ? 1 : choices > ANSWER_CHOICES_MAX ? ANSWER_CHOICES_MAX : choices;
}

static void drop_tools(struct answer *a) {
    for (size_t i = 0; i < a->tool_count; i++) {
        free(a->tools[i].id);
        tc_buf_fini(&a->tools[i].early);
    }
    free(a->tools);
    a->tools = NULL;
    a->tool_count = 0;
}

void answer_fini(struct answer *a) {
    drop_tools(a);
    json_decref(a->usage);
    a->usage = NULL;
}

void answer_reset(struct answer *a) {
    struct answer was = *a;

    answer_fini(a);
    answer_init(a, was.sink, was.arg, was.gen, was.choices);
    a->begun = was.begun;
    a->spoke = was.spoke;
    a->muted = was.muted;
}

void answer_begin(struct answer *a, struct tc_str model) {
    char name[128];

    a->alive = true;
    if (a->begun || a->muted || a->failed)
        return;
    a->begun = true;
    bool known = model.n > 0 && model.n < sizeof(name) && !memchr(model.p, 0, model.n);
    if (known) {
        memcpy(name, model.p, model.n);
        name[model.n] = 0;
    }
    a->sink->on_begin(a->arg, known ? name : NULL);
}

/* Pieces may come before anything that names the model: on_begin stays the first all the same. */
static bool may_speak(struct answer *a) {
    answer_begin(a, (struct tc_str){NULL, 0});
    if (a->muted || a->failed)
        return false;
    a->spoke = true;
    return true;
}

void answer_text(struct answer *a, enum tc_kind kind, uint32_t index, struct tc_str text) {
    if (text.n > 0 && may_speak(a))
        a->sink->on_text(a->arg, kind, index, text);
}

void answer_note(struct answer *a, const char *kind, struct tc_str text, json_t *data) {
    if (may_speak(a))
        a->sink->on_note(a->arg, kind, text, data);
}

static struct answer_tool *tool_at(struct answer *a, uint32_t choice, int64_t key) {
    for (size_t i = a->tool_count; i-- > 0;) {
        struct answer_tool *t = &a->tools[i];
        if (t->choice == choice && (key < 0 || t->key == key))
            return t;
    }
    return NULL;
}

static struct answer_tool *tool_by_id(struct answer *a, uint32_t choice, struct tc_str id) {
    for (size_t i = 0; i < a->tool_count; i++) {
        if (a->tools[i].choice == choice && tc_str_is(id, a->tools[i].id))
            return &a->tools[i];
    }
    return NULL;
}

static struct answer_tool *tool_add(struct answer *a, uint32_t choice, int64_t key, struct tc_str id) {
    if (a->tool_count == ANSWER_TOOLS_MAX) {
        answer_broken(a, "The model server made too many tool calls.");
        return NULL;
    }
    struct answer_tool *grown = realloc(a->tools, (a->tool_count + 1) * sizeof(*grown));
    if (!grown)
        goto err;
    a->tools = grown;
    struct answer_tool *t = &grown[a->tool_count];
    *t = (struct answer_tool){.choice = choice, .key = key, .id = tc_str_dup(id)};
    if (!t->id)
        goto err;
    tc_buf_init(&t->early, ANSWER_EARLY_MAX);
    a->tool_count++;
    return t;
err:
    answer_broken(a, "The worker is out of memory.");
    return NULL;
}

/* Which call a piece belongs to. Ollama leaves the index out, or numbers every whole call 0: there a new id together
 * with a name means a new call. */
static struct answer_tool *tool_find(struct answer *a, uint32_t choice, int64_t key, struct tc_str id,
                                     struct tc_str name) {
    struct answer_tool *t = key < 0 && id.n > 0 ? tool_by_id(a, choice, id) : tool_at(a, choice, key);

    if (!t)
        return NULL;
    if (key < 0 && id.n == 0 && name.n > 0)
        return NULL;
    if (id.n > 0 && name.n > 0 && t->id[0] && !tc_str_is(id, t->id))
        return NULL;
    return t;
}

/* The first the sink hears of a call carries its id and its name. */
static void tool_introduce(struct answer *a, struct answer_tool *t, struct tc_str name) {
    uint32_t index = (uint32_t)(t - a->tools);
    char made[96];
    struct tc_str id = tc_str_from(t->id);

    if (id.n == 0) {
        int n = snprintf(made, sizeof(made), "call_%.64s_%u", a->gen ? a->gen : "", (unsigned)index);
        id = (struct tc_str){made, (size_t)n};
    }
    t->named = true;
    t->any = t->early.len > 0;
    if (may_speak(a))
        a->sink->on_tool(a->arg, index, id, name, tc_buf_str(&t->early), false);
    tc_buf_fini(&t->early);
}

void answer_tool(struct answer *a, uint32_t choice, int64_t key, struct tc_str id, struct tc_str name,
                 struct tc_str arguments) {
    if (a->failed || answer_finished(a)) /* behind the end a call would get none of its own */
        return;
    if (id.n > ANSWER_TOOL_ID_MAX || name.n > ANSWER_TOOL_ID_MAX || (id.n > 0 && memchr(id.p, 0, id.n))) {
        answer_broken(a, "The model server made a tool call with an unusable name.");
        return;
    }
    struct answer_tool *t = tool_find(a, choice, key, id, name);
    if (!t)
        t = tool_add(a, choice, key, id);
    if (!t || t->closed)
        return;
    if (!t->named) {
        tc_buf_put_str(&t->early, arguments);
        if (!tc_buf_ok(&t->early))
            answer_broken(a, "The model server made a tool call without a name.");
        else if (name.n > 0)
            tool_introduce(a, t, name);
        return;
    }
    if (arguments.n > 0 && may_speak(a)) {
        t->any = true;
        a->sink->on_tool(a->arg, (uint32_t)(t - a->tools), (struct tc_str){NULL, 0}, (struct tc_str){NULL, 0},
                         arguments, false);
    }
}

/* A call without arguments is told as `{}`: whole arguments are always JSON. */
static void tool_close(struct answer *a, struct answer_tool *t) {
    struct tc_str none = {NULL, 0}, rest = t->any ? none : TC_STR("{}");

    if (t->closed || !t->named)
        return;
    t->closed = true;
    if (may_speak(a))
        a->sink->on_tool(a->arg, (uint32_t)(t - a->tools), none, none, rest, true);
}

void answer_tool_close(struct answer *a, uint32_t choice, int64_t key) {
    struct answer_tool *t = tool_at(a, choice, key);
    if (t)
        tool_close(a, t);
}

static const struct {
    const char *theirs, *ours; /* ours NULL: a failure */
} reasons[] = {
    {"stop", "stop"},
    {"end_turn", "stop"},
    {"stop_sequence", "stop"},
    {"eos_token", "stop"},
    {"eos", "stop"},
    {"pause_turn", "stop"},
    {"length", "length"},
    {"max_tokens", "length"},
    {"model_context_window_exceeded", "length"},
    {"tool_calls", "tool_calls"},
    {"tool_use", "tool_calls"},
    {"function_call", "tool_calls"},
    {"content_filter", "content_filter"},
    {"refusal", "content_filter"},
    {"error", NULL},
    {"abort", NULL},
    {"insufficient_system_resource", NULL},
};

/* A reason nobody has heard of is an ordinary end. */
static const char *map_reason(struct tc_str reason) {
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
        if (tc_str_is(reason, reasons[i].theirs))
            return reasons[i].ours;
    }
    return "stop";
}

void answer_finish(struct answer *a, uint32_t choice, struct tc_str reason) {
    const char *ours = map_reason(reason);

    a->alive = true;
    if (choice >= ANSWER_CHOICES_MAX || a->finish_seen[choice] || a->failed)
        return;
    if (!ours) {
        answer_fail(a, "upstream_error", TC_STR("The model server broke the answer off."), true, true);
        return;
    }
    a->finish_seen[choice] = true;
    a->finish_count++;
    if (!a->reason || choice == 0)
        a->reason = ours;
    if (!answer_finished(a))
        return;
    for (size_t i = 0; i < a->tool_count; i++)
        tool_close(a, &a->tools[i]);
}

static json_int_t count_of(const json_t *usage, const char *name) {
    json_int_t n = json_integer_value(json_object_get(usage, name));
    return n > 0 && n < ((json_int_t)1 << 48) ? n : 0;
}

static const char *our_name(const char *theirs) {
    if (strcmp(theirs, "prompt_tokens") == 0)
        return "input_tokens";
    return strcmp(theirs, "completion_tokens") == 0 ? "output_tokens" : theirs;
}

void answer_usage(struct answer *a, const json_t *usage) {
    const char *name;
    json_t *value;

    if (!json_is_object(usage) || json_dumpb(usage, NULL, 0, JSON_COMPACT) > ANSWER_USAGE_MAX)
        return;
    if (!a->usage)
        a->usage = json_object();
    void *it = json_object_iter((json_t *)(uintptr_t)usage);
    for (; it; it = json_object_iter_next((json_t *)(uintptr_t)usage, it)) {
        name = json_object_iter_key(it);
        value = json_object_iter_value(it);
        if (!json_is_null(value))
            json_object_set(a->usage, our_name(name), value);
    }
    /* Anthropic gives no total, and counts cached input apart from input_tokens. */
    if (!json_object_get(usage, "total_tokens"))
        json_object_set_new(a->usage, "total_tokens",
                            json_integer(count_of(a->usage, "input_tokens") + count_of(a->usage, "output_tokens") +
                                         count_of(a->usage, "cache_creation_input_tokens") +
                                         count_of(a->usage, "cache_read_input_tokens")));
}

void answer_fail(struct answer *a, const char *code, struct tc_str message, bool recoverable, bool retry) {
    if (a->failed)
        return;
    if (message.n >= sizeof(a->message))
        message.n = tc_utf8_complete((struct tc_str){message.p, sizeof(a->message) - 1});
    if (message.n > 0)
        memcpy(a->message, message.p, message.n);
    a->message[message.n] = 0;
    a->failed = true;
    a->code = code;
    a->recoverable = recoverable;
    a->retry = retry;
}

void answer_broken(struct answer *a, const char *message) {
    answer_fail(a, "upstream_error", tc_str_from(message), false, false);
}
