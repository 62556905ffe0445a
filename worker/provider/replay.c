/* A provider without a model: plays a text at a steady rate, for demonstrations, tests, and answers from a cache.
 * Loop thread only. All calls share one wheel of deadlines; a call says whatever is due by a monotonic schedule (piece
 * n at n / rate), so that rates far above the wheel's tick are exact on average; more than TICK_MAX pieces yield first.
 *
 * A request may bring its own `options`: {"text", "rate", "reasoning", "tool_call": {"name", "arguments"},
 * "max_tokens"}. */
#include "provider/kind.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/utf8.h"
#include "provider/foreign.h"
#include "provider/pieces.h"
#include "provider/replay_text.h"
#include "provider/request.h"
#include "provider/wheel.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#define FILE_MAX (16 * 1024 * 1024)
#define RATE_MAX 1e6
#define RATE_MIN 0.001
#define RATE_DEF 30.0
#define TICK_MAX 4096
#define TICK_MS  1

struct replay {
    struct provider base;
    struct wheel wheel; /* of the calls */
    char *model;        /* owned; may be NULL */
    struct tc_buf file; /* empty: the text that is built in */
    double rate;        /* pieces per second */
    unsigned calls;     /* not freed */
    bool closing;
    void (*close_cb)(void *arg);
    void *close_arg;
};

struct replay_call {
    struct provider_call base;
    struct replay *provider;
    struct provider_sink sink;
    void *arg;
    json_t *request; /* a reference; the strings below may lie in it */
    char gen[72];
    struct tc_str reasoning, text; /* what is still to be said */
    struct tc_str tool_name, tool_arguments;
    char *dumped;           /* owned: tool arguments that came as an object; NULL = none */
    uint64_t told;          /* pieces of reasoning and text said */
    uint64_t due_from;      /* pieces said when `since` began */
    uint64_t since;         /* monotonic microseconds */
    uint64_t limit;         /* max_tokens; 0 = none */
    uint64_t input, output; /* for usage */
    double rate;
    bool begun, paused, freed, over;
    bool ticking; /* on_tick is on the stack: it frees */
    struct wheel_item due;
};

/* ---- playing ---- */

static uint64_t pieces_due(const struct replay_call *c, uint64_t now) {
    return c->due_from + 1 + (uint64_t)((double)(now - c->since) * c->rate / 1e6);
}

static void plan(struct replay_call *c, uint64_t now) {
    double due = (double)c->since + (double)(c->told - c->due_from) * 1e6 / c->rate;
    uint64_t wait = due > (double)now ? (uint64_t)((due - (double)now) / 1000) : 0;

    wheel_add(&c->provider->wheel, &c->due, now / 1000 + (wait > TICK_MS ? wait : TICK_MS));
}

/* The clock starts again behind what was said, so that a pause is not made up for. */
static void restart_clock(struct replay_call *c) {
    c->since = tc_mono_us();
    c->due_from = c->told;
}

static void end_call(struct replay_call *c) {
    bool cut = c->reasoning.n > 0 || c->text.n > 0;
    struct tc_str none = {NULL, 0};

    c->over = true;
    if (c->tool_name.n > 0 && !cut) {
        char id[96];
        int n = snprintf(id, sizeof(id), "call_%s_0", c->gen);
        c->sink.on_tool(c->arg, 0, (struct tc_str){id, (size_t)n}, c->tool_name, c->tool_arguments, false);
        if (!c->freed)
            c->sink.on_tool(c->arg, 0, none, none, none, true);
        c->output += piece_count(c->tool_arguments);
    }
    if (c->freed)
        return;
    json_t *usage = json_pack("{s:I, s:I, s:I}", "input_tokens", (json_int_t)c->input, "output_tokens",
                              (json_int_t)c->output, "total_tokens", (json_int_t)c->input + (json_int_t)c->output);
    struct provider_end end = {.usage = usage};
    end.reason = cut ? "length" : c->tool_name.n > 0 ? "tool_calls" : "stop";
    c->sink.on_end(c->arg, &end);
    json_decref(usage);
}

static void say_piece(struct replay_call *c) {
    bool thinking = c->reasoning.n > 0;
    struct tc_str *from = thinking ? &c->reasoning : &c->text;
    size_t n = piece_len(*from);
    struct tc_str piece = {from->p, n};

    *from = (struct tc_str){from->p + n, from->n - n};
    c->told++;
    c->output++;
    c->sink.on_text(c->arg, thinking ? TC_KIND_REASONING : TC_KIND_TEXT, 0, piece);
}

static bool is_through(const struct replay_call *c) {
    return (c->reasoning.n == 0 && c->text.n == 0) || (c->limit > 0 && c->output >= c->limit);
}

static void begin(struct replay_call *c) {
    c->begun = true;
    restart_clock(c);
    c->sink.on_begin(c->arg, request_model(c->request, c->provider->model));
}

static void say_due(struct replay_call *c) {
    if (!c->begun)
        begin(c);
    if (c->freed || c->paused)
        return;
    uint64_t now = tc_mono_us(), due = pieces_due(c, now);
    for (int i = 0; i < TICK_MAX && c->told < due && !is_through(c); i++) {
        say_piece(c);
        if (c->freed || c->paused)
            return;
    }
    if (is_through(c))
        end_call(c);
    else
        plan(c, now);
}

static void destroy(struct replay_call *c);

static void on_tick(struct wheel_item *item) {
    struct replay_call *c = TC_CONTAINER_OF(item, struct replay_call, due);

    c->ticking = true;
    say_due(c);
    c->ticking = false;
    if (c->freed)
        destroy(c);
}

/* ---- requests ---- */

static uint64_t count_prompt(const json_t *request) {
    uint64_t count = piece_count(foreign_str(request, "prompt"));
    const json_t *messages = json_object_get(request, "messages");

    for (size_t i = 0; i < json_array_size(messages); i++)
        count += piece_count(foreign_str(json_array_get(messages, i), "content"));
    return count;
}

static double clamp_rate(double rate) {
    return !(rate > 0) ? RATE_DEF : rate < RATE_MIN ? RATE_MIN : rate > RATE_MAX ? RATE_MAX : rate;
}

static void read_tool(struct replay_call *c, const json_t *options) {
    const json_t *tool = json_object_get(options, "tool_call");
    const json_t *arguments = json_object_get(tool, "arguments");

    c->tool_name = foreign_str(tool, "name");
    c->tool_arguments = foreign_value(arguments);
    if (json_is_object(arguments)) {
        c->dumped = json_dumps(arguments, JSON_COMPACT);
        c->tool_arguments = tc_str_from(c->dumped);
    }
    if (c->tool_arguments.n == 0)
        c->tool_arguments = TC_STR("{}");
}

static struct tc_str text_of(const struct replay *r, const json_t *request) {
    const json_t *options = json_object_get(request, "options");

    if (json_is_string(json_object_get(options, "text")))
        return foreign_str(options, "text");
    return r->file.len > 0 ? tc_buf_str(&r->file) : tc_str_from(replay_text);
}

static void read_request(struct replay_call *c) {
    const json_t *options = json_object_get(c->request, "options");
    const json_t *rate = json_object_get(options, "rate");
    json_int_t limit = json_integer_value(json_object_get(options, "max_tokens"));

    c->rate = json_is_number(rate) ? clamp_rate(json_number_value(rate)) : c->provider->rate;
    c->limit = limit > 0 ? (uint64_t)limit : 0;
    c->input = count_prompt(c->request);
    c->reasoning = foreign_str(options, "reasoning");
    read_tool(c, options);
    c->text = text_of(c->provider, c->request);
}

static bool begins_with(struct tc_str text, struct tc_str prefix) {
    return prefix.n <= text.n && memcmp(prefix.p, text.p, prefix.n) == 0;
}

static size_t replay_keeps(struct provider *p, const json_t *request, struct tc_str said, bool thought) {
    const struct replay *r = TC_CONTAINER_OF(p, struct replay, base);

    (void)thought;
    return said.n > 0 && begins_with(text_of(r, request), said) ? said.n : 0;
}

/* Goes on behind a prefix that is ours byte for byte; what was thought before it is not thought again. */
static int skip_prefix(struct replay_call *c, struct tc_str prefix) {
    if (prefix.n == 0)
        return 0;
    if (!begins_with(c->text, prefix))
        return TC_EINVAL;
    c->output = piece_count(c->reasoning) + piece_count(prefix);
    c->reasoning.n = 0;
    c->text = (struct tc_str){c->text.p + prefix.n, c->text.n - prefix.n};
    return 0;
}

static void free_call(struct replay_call *c) {
    json_decref(c->request);
    free(c->dumped);
    free(c);
}

static int replay_start(struct provider_call **out, struct provider *p, json_t *request, struct tc_str prefix,
                        const char *gen, const struct tc_trace *trace, const struct provider_sink *sink, void *arg) {
    (void)trace; /* nobody is asked */
    struct replay *r = TC_CONTAINER_OF(p, struct replay, base);
    struct replay_call *c = calloc(1, sizeof(*c));

    if (!c)
        return TC_ENOMEM;
    c->provider = r;
    c->sink = *sink;
    c->arg = arg;
    c->request = json_incref(request);
    snprintf(c->gen, sizeof(c->gen), "%s", gen ? gen : "");
    read_request(c);
    int rc = skip_prefix(c, prefix);
    if (rc != 0) {
        free_call(c);
        return rc;
    }
    r->calls++;
    wheel_add(&r->wheel, &c->due, wheel_now_ms());
    *out = &c->base;
    return 0;
}

static void replay_pause(struct provider_call *base) {
    struct replay_call *c = TC_CONTAINER_OF(base, struct replay_call, base);

    c->paused = true;
    wheel_remove(&c->provider->wheel, &c->due);
}

static void replay_resume(struct provider_call *base) {
    struct replay_call *c = TC_CONTAINER_OF(base, struct replay_call, base);

    if (!c->paused)
        return;
    c->paused = false;
    restart_clock(c);
    if (!c->over)
        wheel_add(&c->provider->wheel, &c->due, wheel_now_ms());
}

/* ---- the provider ---- */

static void on_wheel_closed(void *wheel_arg) {
    struct replay *r = wheel_arg;
    void (*cb)(void *) = r->close_cb;
    void *arg = r->close_arg;

    tc_buf_fini(&r->file);
    free(r->model);
    free(r);
    if (cb)
        cb(arg);
}

static void maybe_finish_close(struct replay *r) {
    if (r->closing && r->calls == 0)
        wheel_close(&r->wheel, on_wheel_closed, r);
}

static void destroy(struct replay_call *c) {
    struct replay *r = c->provider;

    free_call(c);
    r->calls--;
    maybe_finish_close(r);
}

static void replay_free(struct provider_call *base) {
    struct replay_call *c = TC_CONTAINER_OF(base, struct replay_call, base);

    if (c->freed)
        return;
    c->freed = true;
    wheel_remove(&c->provider->wheel, &c->due);
    if (!c->ticking)
        destroy(c);
}

static void replay_close(struct provider *p, void (*cb)(void *arg), void *arg) {
    struct replay *r = TC_CONTAINER_OF(p, struct replay, base);

    assert(!r->closing);
    r->closing = true;
    r->close_cb = cb;
    r->close_arg = arg;
    maybe_finish_close(r);
}

static int read_text(struct tc_buf *out, const char *path) {
    FILE *f = fopen(path, "re");
    char *room = NULL;

    if (!f)
        return TC_EIO;
    while ((room = tc_buf_reserve(out, 16384))) {
        size_t n = fread(room, 1, 16384, f);
        out->len += n;
        if (n == 0)
            break;
    }
    int failed = ferror(f);
    fclose(f);
    if (!tc_buf_ok(out))
        return TC_ETOOLARGE;
    return failed ? TC_EIO : out->len > 0 && tc_utf8_valid(tc_buf_str(out)) ? 0 : TC_ESYNTAX;
}

static int replay_create(struct provider **out, uv_loop_t *loop, const struct provider_options *opts) {
    struct replay *r = calloc(1, sizeof(*r));
    int rc = TC_ENOMEM;

    if (!r)
        return TC_ENOMEM;
    r->rate = clamp_rate(opts->replay_rate);
    tc_buf_init(&r->file, FILE_MAX);
    if (opts->model) {
        r->model = strdup(opts->model);
        if (!r->model)
            goto err_after_alloc;
    }
    if (opts->replay_file) {
        rc = read_text(&r->file, opts->replay_file);
        if (rc != 0)
            goto err_after_alloc;
    }
    wheel_init(&r->wheel, loop, on_tick);
    *out = &r->base;
    return 0;

err_after_alloc:
    tc_log(TC_LOG_ERROR, "cannot play the replay file", TC_LS("file", opts->replay_file), TC_LERR(rc));
    tc_buf_fini(&r->file);
    free(r->model);
    free(r);
    return rc;
}

const struct provider_kind provider_replay = {
    .name = "replay",
    .create = replay_create,
    .close = replay_close,
    .keeps = replay_keeps,
    .start = replay_start,
    .pause = replay_pause,
    .resume = replay_resume,
    .free_call = replay_free,
};
