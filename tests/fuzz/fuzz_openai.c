/* OpenAI-shaped answers: any bytes as an event stream, and as one JSON answer. Checks what every sink relies on: text
 * is UTF-8, a tool call begins with its id and name, nothing of it follows its end. */
#include "base/utf8.h"
#include "provider/dialect.h"
#include "provider/foreign.h"
#include "provider/sse.h"

#include <stdint.h>
#include <stdlib.h>

struct seen {
    bool begun;
    bool open[ANSWER_TOOLS_MAX], done[ANSWER_TOOLS_MAX];
};

static void require(bool condition) {
    if (!condition)
        abort();
}

static void on_begin(void *arg, const char *model) {
    struct seen *s = arg;
    (void)model;
    require(!s->begun);
    s->begun = true;
}

static void on_wait(void *arg, const char *why, uint64_t delay_ms, int retry) {
    (void)arg, (void)why, (void)delay_ms, (void)retry;
    abort();
}

static void on_text(void *arg, enum tc_kind kind, uint32_t index, struct tc_str text) {
    struct seen *s = arg;
    (void)kind;
    require(s->begun && index < ANSWER_CHOICES_MAX && text.n > 0 && tc_utf8_valid(text));
}

static void on_tool(void *arg, uint32_t index, struct tc_str id, struct tc_str name, struct tc_str arguments,
                    bool done) {
    struct seen *s = arg;

    require(s->begun && index < ANSWER_TOOLS_MAX && !s->done[index] && tc_utf8_valid(arguments));
    require(s->open[index] || (id.n > 0 && name.n > 0));
    s->open[index] = true;
    s->done[index] = done;
}

static void on_note(void *arg, const char *kind, struct tc_str text, json_t *data) {
    struct seen *s = arg;
    (void)data;
    require(s->begun && kind && tc_utf8_valid(text));
}

static const struct provider_sink sink = {
    .on_begin = on_begin,
    .on_wait = on_wait,
    .on_text = on_text,
    .on_tool = on_tool,
    .on_note = on_note,
};

static bool on_event(void *arg, struct tc_str name, struct tc_str data) {
    struct answer *a = arg;
    dialect_openai.event(a, name, data);
    return !a->failed && !a->ended;
}

static void finish(struct seen *s, struct answer *a) {
    for (size_t i = 0; i < ANSWER_TOOLS_MAX; i++)
        require(a->failed || !answer_finished(a) || !s->open[i] || s->done[i]);
    answer_fini(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_str bytes = {(const char *)data, size};
    struct seen streamed = {0}, whole = {0};
    struct answer a;
    struct sse sse;
    size_t used;

    answer_init(&a, &sink, &streamed, "gen", 1);
    sse_init(&sse, on_event, &a);
    if (sse_feed(&sse, bytes, &used) == 0 && !a.failed && !a.ended)
        sse_finish(&sse);
    sse_fini(&sse);
    finish(&streamed, &a);

    json_t *root = foreign_json(bytes);
    answer_init(&a, &sink, &whole, "gen", 1);
    if (json_is_object(root))
        dialect_openai.whole(&a, root);
    json_decref(root);
    finish(&whole, &a);
    return 0;
}
