/* Streams of model servers with each allocation failing in turn: the answer says that it failed, or it is the same. */
#include "nomem.h"

#include "provider/answer.h"
#include "provider/dialect.h"
#include "provider/sse.h"
#include "tokencast/error.h"
#include "wire/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* What a reader of the answer would have. Takes no memory. */
struct told {
    char text[8192], arguments[8192];
    size_t text_len, arguments_len;
    unsigned tools_done, notes;
};

static void append(char *to, size_t *len, size_t size, struct tc_str s) {
    assert_true(*len + s.n < size);
    memcpy(to + *len, s.n ? s.p : "", s.n);
    *len += s.n;
}

static void on_begin(void *arg, const char *model) {
    (void)arg;
    (void)model;
}

static void on_text(void *arg, enum tc_kind kind, uint32_t index, struct tc_str text) {
    struct told *t = arg;
    const char mark = (char)('0' + (int)kind + (int)index);
    append(t->text, &t->text_len, sizeof t->text, (struct tc_str){&mark, 1});
    append(t->text, &t->text_len, sizeof t->text, text);
}

static void on_tool(void *arg, uint32_t index, struct tc_str id, struct tc_str name, struct tc_str arguments,
                    bool done) {
    struct told *t = arg;
    const char mark = (char)('0' + (int)index);
    if (arguments.n > 0 || name.n > 0)
        append(t->arguments, &t->arguments_len, sizeof t->arguments, (struct tc_str){&mark, 1});
    append(t->arguments, &t->arguments_len, sizeof t->arguments, id);
    append(t->arguments, &t->arguments_len, sizeof t->arguments, name);
    append(t->arguments, &t->arguments_len, sizeof t->arguments, arguments);
    t->tools_done += done;
}

static void on_note(void *arg, const char *kind, struct tc_str text, json_t *data) {
    (void)kind;
    (void)text;
    (void)data;
    ((struct told *)arg)->notes++;
}

static const struct provider_sink sink = {
    .on_begin = on_begin, .on_text = on_text, .on_tool = on_tool, .on_note = on_note};

struct stream {
    const struct dialect *dialect;
    const char *path;
    struct tc_str bytes;
    struct answer *a;
    struct told whole; /* with memory */
    const char *reason;
    bool failed;
};

static bool on_event(void *arg, struct tc_str name, struct tc_str data) {
    struct stream *s = arg;
    s->dialect->event(s->a, name, data);
    return !s->a->failed && !s->a->ended;
}

static void read_all(struct stream *s, struct answer *a, struct told *t) {
    struct sse sse;
    size_t used;
    memset(t, 0, sizeof *t);
    s->a = a;
    answer_init(a, &sink, t, "gen", 1);
    sse_init(&sse, on_event, s);
    for (size_t at = 0; at < s->bytes.n && !a->failed && !a->ended; at += 100) { /* cut anywhere */
        size_t n = s->bytes.n - at < 100 ? s->bytes.n - at : 100;
        if (sse_feed(&sse, (struct tc_str){s->bytes.p + at, n}, &used) != 0)
            answer_broken(a, "as upstream_call.c does");
    }
    if (!a->failed && !a->ended)
        sse_finish(&sse);
    sse_fini(&sse);
}

static bool read_one(void *arg, enum nomem_mode mode, unsigned n) {
    static struct told t;
    struct stream *s = arg;
    struct answer a;
    nomem_begin(mode, n);
    read_all(s, &a, &t);
    bool failed = nomem_end();
    bool same = t.text_len == s->whole.text_len && memcmp(t.text, s->whole.text, t.text_len) == 0 &&
                t.arguments_len == s->whole.arguments_len &&
                memcmp(t.arguments, s->whole.arguments, t.arguments_len) == 0 && t.tools_done == s->whole.tools_done;
    if (!a.failed && !same)
        fail_msg("%s: allocation %u (mode %d): a part is missing, and nobody says so: \"%.*s\"", s->path, n, (int)mode,
                 (int)t.text_len, t.text);
    if (!a.failed && (a.reason == NULL) != (s->reason == NULL))
        fail_msg("%s: allocation %u (mode %d): the reason is lost", s->path, n, (int)mode);
    if (!a.failed && t.notes != s->whole.notes)
        fail_msg("%s: allocation %u (mode %d): a note is lost", s->path, n, (int)mode);
    answer_reset(&a); /* it can be tried again */
    answer_fini(&a);
    return failed;
}

static void try_stream(const struct dialect *dialect, const char *name) {
    static struct stream s;
    static char bytes[65536];
    static char path[512];
    struct answer a;
    snprintf(path, sizeof path, "%s/fixtures/%s.sse", TC_TESTS_DIR, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(bytes, 1, sizeof bytes, f);
    (void)fclose(f);
    assert_in_range(n, 1, sizeof bytes - 1);
    s = (struct stream){.dialect = dialect, .path = name, .bytes = {bytes, n}};
    read_all(&s, &a, &s.whole);
    s.reason = a.reason;
    answer_fini(&a);
    nomem_each(read_one, &s);
}

static void openai_stream_without_memory_fails_or_is_the_same(void **state) {
    static const char *const names[] = {"openai/chat",       "openai/tools",
                                        "openai/refusal",    "openai/legacy_function",
                                        "vllm/tools",        "ollama/tools_without_index",
                                        "vllm/reasoning",    "mistral/parts",
                                        "llamacpp/crlf_bom", "openai/content_filter"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        try_stream(&dialect_openai, names[i]);
}

static void anthropic_stream_without_memory_fails_or_is_the_same(void **state) {
    static const char *const names[] = {"anthropic/text", "anthropic/tool_use", "anthropic/thinking",
                                        "anthropic/server_tool", "anthropic/refusal"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        try_stream(&dialect_anthropic, names[i]);
}

/* ---- requests ---- */

struct asking {
    const struct dialect *dialect;
    json_t *request;
    char *whole;
};

static bool build(void *arg, enum nomem_mode mode, unsigned n) {
    struct asking *q = arg;
    json_t *body = NULL;
    nomem_begin(mode, n);
    int rc = q->dialect->body(&body, q->request, "a-model");
    bool failed = nomem_end();
    if (rc == 0) { /* nothing of the request may be missing */
        char *got = json_dumps(body, JSON_SORT_KEYS);
        if (strcmp(got, q->whole) != 0)
            fail_msg("allocation %u (mode %d): asked for something else:\n%s\n%s", n, (int)mode, got, q->whole);
        free(got);
    } else {
        assert_int_equal(rc, TC_ENOMEM);
        assert_true(failed);
    }
    json_decref(body);
    return failed;
}

static void ask(const struct dialect *dialect, const char *request) {
    json_t *body;
    struct asking q = {.dialect = dialect, .request = json_loads(request, 0, NULL)};
    assert_non_null(q.request);
    assert_int_equal(dialect->body(&body, q.request, "a-model"), 0);
    q.whole = json_dumps(body, JSON_SORT_KEYS);
    json_decref(body);
    nomem_each(build, &q);
    free(q.whole);
    json_decref(q.request);
}

#define REQUEST                                                                                                        \
    "{\"messages\":[{\"role\":\"system\",\"content\":\"A\"},{\"role\":\"user\",\"content\":\"Q\"}],"                   \
    "\"options\":{\"temperature\":1.5,\"stop\":\"END\",\"max_tokens\":7,\"tools\":[{\"type\":\"function\","            \
    "\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}],\"tool_choice\":\"required\"}}"

static void openai_request_without_memory_is_refused(void **state) {
    (void)state;
    ask(&dialect_openai, REQUEST);
}

static void anthropic_request_without_memory_is_refused(void **state) {
    (void)state;
    ask(&dialect_anthropic, REQUEST);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(openai_stream_without_memory_fails_or_is_the_same),
        cmocka_unit_test(anthropic_stream_without_memory_fails_or_is_the_same),
        cmocka_unit_test(openai_request_without_memory_is_refused),
        cmocka_unit_test(anthropic_request_without_memory_is_refused),
    };
    return cmocka_run_group_tests(tests, nomem_count_json, NULL);
}
