/* Going on from half an answer: what of it a model server can be shown as the beginning of its own answer, and the
 * request that does so. Servers that cannot, or that would begin a second answer, are not asked: see dialect.h for
 * whom it is safe with. Pure. */
#ifndef WORKER_PROVIDER_PREFILL_H
#define WORKER_PROVIDER_PREFILL_H

#include "base/attr.h"
#include "base/str.h"

#include <jansson.h>
#include <stddef.h>

enum prefill {
    PREFILL_NEVER = 0, /* only anew */
    PREFILL_TURN,      /* the half answer is the last turn: Anthropic, llama.cpp, some routers */
    PREFILL_VLLM       /* the same, and vLLM is told that the turn is not over */
};

/* The operator's word: "auto" or NULL is what the dialect says, "never", "prefill", "vllm". */
enum prefill prefill_named(const char *word, enum prefill automatic);

/* How many bytes of `said` may go into a prefill: all but white space at the end, which Anthropic refuses and chat
 * templates cut off, so that the model says it again. 0: the request does not allow one; `unfit` lists the options
 * (ended by NULL) under which a server begins an answer otherwise than with its text. */
size_t prefill_length(const json_t *request, const char *const *unfit, struct tc_str said);

/* Adds the prefix to a body whose `messages` may be the request's own. TC_ENOMEM. */
TC_MUST_USE int prefill_add(json_t *body, struct tc_str prefix, enum prefill how);

#endif
