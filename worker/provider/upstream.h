/* A provider behind HTTP: what the OpenAI and the Anthropic kind share. Loop thread only. The provider is in
 * upstream.c, the state machine of a call in upstream_call.c. */
#ifndef WORKER_PROVIDER_UPSTREAM_H
#define WORKER_PROVIDER_UPSTREAM_H

#include "provider/dialect.h"
#include "provider/kind.h"
#include "provider/transfer.h"

struct upstream {
    struct provider base;
    uv_loop_t *loop;               /* borrowed */
    const struct dialect *dialect; /* static */
    struct provider_options opts;  /* its strings are owned copies */
    enum prefill prefill;          /* how a call goes on from half an answer */
    struct tc_buf url;             /* of the route, with its NUL */
    struct transfer_pool *pool;
    unsigned calls; /* not freed, or their timers not closed yet */
    bool closing;
    void (*close_cb)(void *arg);
    void *close_arg;
};

#define UPSTREAM_KEY_MAX 4096 /* bytes of a key */

/* The key as it is in its file now, without white space around it: *out is owned by the caller, NULL if there is no
 * key file. TC_EIO: the file cannot be read; TC_ESYNTAX: it holds no key. Logged. */
TC_MUST_USE int upstream_read_key(const struct upstream *u, char **out);

size_t upstream_keeps(struct provider *p, const json_t *request, struct tc_str said, bool thought);

/* The body of a request that goes on from `prefix` (may be empty): *out is the caller's. TC_EINVAL, TC_ENOMEM. */
TC_MUST_USE int upstream_body(const struct upstream *u, char **out, const json_t *request, struct tc_str prefix);

/* A call has let go of its last handle. */
void upstream_call_gone(struct upstream *u);

int upstream_call_start(struct provider_call **out, struct provider *p, json_t *request, struct tc_str prefix,
                        const char *gen, const struct tc_trace *trace, const struct provider_sink *sink, void *arg);
void upstream_call_pause(struct provider_call *base);
void upstream_call_resume(struct provider_call *base);
void upstream_call_free(struct provider_call *base);

#endif
