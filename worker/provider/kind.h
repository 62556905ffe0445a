/* What a kind of provider implements, and what the common part knows of its objects. Private to this folder. */
#ifndef WORKER_PROVIDER_KIND_H
#define WORKER_PROVIDER_KIND_H

#include "provider/provider.h"

struct provider_kind {
    const char *name;
    int (*create)(struct provider **out, uv_loop_t *loop, const struct provider_options *opts);
    void (*close)(struct provider *p, void (*cb)(void *arg), void *arg);
    size_t (*keeps)(struct provider *p, const json_t *request, struct tc_str said, bool thought);
    int (*start)(struct provider_call **out, struct provider *p, json_t *request, struct tc_str prefix, const char *gen,
                 const struct tc_trace *trace, const struct provider_sink *sink, void *arg);
    void (*pause)(struct provider_call *c);
    void (*resume)(struct provider_call *c);
    void (*free_call)(struct provider_call *c);
};

/* First members of what the kinds really allocate. */
struct provider {
    const struct provider_kind *kind;
};
struct provider_call {
    const struct provider_kind *kind;
};

extern const struct provider_kind provider_openai;
extern const struct provider_kind provider_anthropic;
extern const struct provider_kind provider_replay;

#endif
