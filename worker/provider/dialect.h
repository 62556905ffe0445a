/* What two upstreams differ in: how a request looks, and how an answer reads. Everything else is upstream.h. A dialect
 * is a static table of pure functions; no network in any of them. */
#ifndef WORKER_PROVIDER_DIALECT_H
#define WORKER_PROVIDER_DIALECT_H

#include "base/attr.h"
#include "base/buf.h"
#include "provider/answer.h"
#include "provider/prefill.h"

#include <jansson.h>

struct dialect {
    bool parallel;            /* options.n asks for several answers at once */
    enum prefill prefill;     /* how to go on from half an answer, unless the operator says otherwise */
    const char *const *unfit; /* options under which it cannot; ended by NULL */
    /* The URL of the route; `base` is the user's, without trailing slashes. */
    void (*url)(struct tc_buf *out, struct tc_str base);
    /* Header lines, each ended by a newline. `key` may be NULL. */
    void (*headers)(struct tc_buf *out, const char *key);
    /* The body as a new reference. TC_EINVAL: the request has neither messages nor prompt, or no model is known. */
    int (*body)(json_t **out, const json_t *request, const char *model);
    /* One event of the stream. */
    void (*event)(struct answer *a, struct tc_str name, struct tc_str data);
    /* A whole answer from a server that does not stream. */
    void (*whole)(struct answer *a, const json_t *root);
};

extern const struct dialect dialect_openai;
extern const struct dialect dialect_anthropic;

#endif
