/* See provider.h: finds the kind by its name, and forwards. Loop thread only. */
#include "provider/provider.h"

#include "base/log.h"
#include "provider/kind.h"
#include "tokencast/error.h"

#include <string.h>

static const struct provider_kind *const kinds[] = {&provider_openai, &provider_anthropic, &provider_replay};

int provider_create(struct provider **out, uv_loop_t *loop, const struct provider_options *opts) {
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i]->name, opts->kind) != 0)
            continue;
        int rc = kinds[i]->create(out, loop, opts);
        if (rc == 0)
            (*out)->kind = kinds[i];
        return rc;
    }
    tc_log(TC_LOG_ERROR, "no such provider", TC_LS("provider", opts->kind));
    return TC_EINVAL;
}

void provider_close(struct provider *p, void (*cb)(void *arg), void *arg) {
    p->kind->close(p, cb, arg);
}

const char *provider_kind(const struct provider *p) {
    return p->kind->name;
}

size_t provider_keeps(struct provider *p, const json_t *request, struct tc_str said, bool thought) {
    return p->kind->keeps(p, request, said, thought);
}

int provider_call_start(struct provider_call **out, struct provider *p, json_t *request, struct tc_str prefix,
                        const char *gen, const struct tc_trace *trace, const struct provider_sink *sink, void *arg) {
    int rc = p->kind->start(out, p, request, prefix, gen, trace, sink, arg);
    if (rc == 0)
        (*out)->kind = p->kind;
    return rc;
}

void provider_call_pause(struct provider_call *c) {
    c->kind->pause(c);
}

void provider_call_resume(struct provider_call *c) {
    c->kind->resume(c);
}

void provider_call_free(struct provider_call *c) {
    c->kind->free_call(c);
}
