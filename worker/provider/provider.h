/* Where tokens come from. A provider is made once a process; a call is one request to it. Everything on the loop
 * thread; no callback is ever made from inside start, pause, resume or abort.
 *
 * A call's life: start -> (on_wait …) -> on_begin -> on_text / on_tool / on_note … -> on_end, exactly once, unless
 * aborted first. Retries before the first token happen inside; after the first token a failure is the end. */
#ifndef WORKER_PROVIDER_PROVIDER_H
#define WORKER_PROVIDER_PROVIDER_H

#include "base/attr.h"
#include "base/str.h"
#include "tokencast/event.h"
#include "wire/trace.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct provider_options {
    const char *kind;         /* "openai", "anthropic", "replay" */
    const char *upstream;     /* base URL without the route: http://127.0.0.1:8000/v1; replay: unused */
    const char *api_key_file; /* NULL = none; read again at every call, so that a rotated key is used */
    const char *model;        /* used when the request names none; NULL = none */
    const char *going_on;     /* from half an answer: "auto", "never", "prefill", "vllm"; NULL = auto; replay: unused */
    const char *replay_file;  /* replay: UTF-8 text; NULL = the text that is built in */
    double replay_rate;       /* replay: tokens per second */
    int64_t connect_timeout_ms, first_token_timeout_ms, idle_timeout_ms; /* idle: between two pieces */
    int64_t max_retries;                    /* before the first token: 429, 5xx, connection failures */
    int64_t backoff_min_ms, backoff_max_ms; /* Retry-After wins but is capped at backoff_max_ms * 10 */
};

struct provider_end {
    const char *reason;  /* "stop", "length", "tool_calls", "content_filter", or "error"; static or valid in the call */
    const char *code;    /* error: "upstream_timeout", "upstream_status", "upstream_eof", "upstream_error", … */
    const char *message; /* error: for people, without secrets; borrowed for the call */
    bool recoverable;    /* error: worth trying again later */
    bool refused;        /* error: the request itself was not taken; another one may be */
    uint64_t retry_after_ms; /* error; 0 = unknown */
    json_t *usage;           /* borrowed; NULL = none: input_tokens, output_tokens, total_tokens, and what else came */
};

struct provider_sink {
    void (*on_begin)(void *arg, const char *model); /* the upstream accepted; the model it says, or NULL */
    void (*on_wait)(void *arg, const char *why, uint64_t delay_ms, int retry);         /* will try again after delay */
    void (*on_text)(void *arg, enum tc_kind kind, uint32_t index, struct tc_str text); /* whole UTF-8 characters */
    /* A tool call grows: id and name are non-empty when first known, arguments is a piece. done: whole; `invalid` is
     * for the receiver to find out. */
    void (*on_tool)(void *arg, uint32_t index, struct tc_str id, struct tc_str name, struct tc_str arguments,
                    bool done);
    void (*on_note)(void *arg, const char *kind, struct tc_str text, json_t *data); /* data borrowed, may be NULL */
    void (*on_end)(void *arg, const struct provider_end *end); /* the call is over; provider_call_free() may follow */
};

struct provider;
struct provider_call;

/* Reasons for failure are logged. */
TC_MUST_USE int provider_create(struct provider **out, uv_loop_t *loop, const struct provider_options *opts);
/* No call may be left. cb once, later; then the memory is gone. */
void provider_close(struct provider *p, void (*cb)(void *arg), void *arg);
const char *provider_kind(const struct provider *p);

/* How many bytes of `said`, the text of an answer that broke off, a call can go on from as its prefix; 0: only anew.
 * `thought`: reasoning came before it. */
size_t provider_keeps(struct provider *p, const json_t *request, struct tc_str said, bool thought);

/* `request` is what the client posted (messages or prompt, model, options); a reference is taken. `prefix` is the text
 * to go on from, as provider_keeps says (else TC_EINVAL), empty for a new answer. `gen` names the generation for logs
 * and for tool calls that come without an id. `trace` goes along with every request to the upstream; borrowed until
 * provider_call_free(). */
TC_MUST_USE int provider_call_start(struct provider_call **out, struct provider *p, json_t *request,
                                    struct tc_str prefix, const char *gen, const struct tc_trace *trace,
                                    const struct provider_sink *sink, void *arg);
/* Backpressure: stops reading from the upstream connection, and goes on. Idempotent. The idle time-out rests. */
void provider_call_pause(struct provider_call *c);
void provider_call_resume(struct provider_call *c);
/* Closes the upstream connection at once if the call still runs (the model server sees it and frees its slot); no
 * callback follows; frees. The one way to end a call's life, also after on_end; allowed inside its callbacks. */
void provider_call_free(struct provider_call *c);

#endif
