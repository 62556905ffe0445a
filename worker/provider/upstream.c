/* See upstream.h. Owned by the worker's main; closes when its last call's timer has closed. */
#include "provider/upstream.h"

#include "base/log.h"
#include "tokencast/error.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int read_file(const char *path, char *out, size_t size, size_t *len) {
    FILE *f = fopen(path, "re");

    if (!f)
        return TC_EIO;
    *len = fread(out, 1, size, f);
    int failed = ferror(f);
    fclose(f);
    return failed ? TC_EIO : 0;
}

int upstream_read_key(const struct upstream *u, char **out) {
    char text[UPSTREAM_KEY_MAX];
    size_t len = 0, from = 0;
    int rc = TC_ESYNTAX;

    *out = NULL;
    if (!u->opts.api_key_file)
        return 0;
    rc = read_file(u->opts.api_key_file, text, sizeof(text), &len);
    if (rc != 0)
        goto err_after_read;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    while (from < len && isspace((unsigned char)text[from]))
        from++;
    rc = from == len || len == sizeof(text) ? TC_ESYNTAX : 0;
    for (size_t i = from; i < len; i++) {
        if (text[i] <= ' ' || text[i] > '~')
            rc = TC_ESYNTAX; /* a line break in it would be a second header */
    }
    if (rc == 0) {
        *out = tc_str_dup((struct tc_str){text + from, len - from});
        rc = *out ? 0 : TC_ENOMEM;
    }
err_after_read:
    if (rc != 0)
        tc_log(TC_LOG_ERROR, "cannot use the key file", TC_LS("file", u->opts.api_key_file), TC_LERR(rc));
    return rc;
}

/* What was thought is not in the text: the model would go on without it, or think again in the middle. */
static size_t keeps(const struct upstream *u, const json_t *request, struct tc_str said, bool thought) {
    return thought || u->prefill == PREFILL_NEVER ? 0 : prefill_length(request, u->dialect->unfit, said);
}

size_t upstream_keeps(struct provider *p, const json_t *request, struct tc_str said, bool thought) {
    return keeps(TC_CONTAINER_OF(p, struct upstream, base), request, said, thought);
}

int upstream_body(const struct upstream *u, char **out, const json_t *request, struct tc_str prefix) {
    json_t *body;
    if (prefix.n > 0 && keeps(u, request, prefix, false) != prefix.n)
        return TC_EINVAL;
    int rc = u->dialect->body(&body, request, u->opts.model);
    if (rc != 0)
        return rc;
    if (prefix.n > 0)
        rc = prefill_add(body, prefix, u->prefill);
    *out = rc == 0 ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    return *out ? 0 : TC_ENOMEM;
}

static void free_strings(struct provider_options *o) {
    free((void *)(uintptr_t)o->upstream);
    free((void *)(uintptr_t)o->api_key_file);
    free((void *)(uintptr_t)o->model);
}

static const char *copy(const char *s) {
    return s ? strdup(s) : NULL;
}

static int copy_options(struct provider_options *to, const struct provider_options *from) {
    *to = *from;
    to->kind = to->replay_file = to->going_on = NULL;
    to->upstream = copy(from->upstream);
    to->api_key_file = copy(from->api_key_file);
    to->model = copy(from->model);
    bool whole = to->upstream && !to->api_key_file == !from->api_key_file && !to->model == !from->model;
    return whole ? 0 : TC_ENOMEM;
}

static bool is_http(const char *url) {
    return url && (strncmp(url, "http://", 7) == 0 || strncmp(url, "https://", 8) == 0);
}

static int upstream_create(struct provider **out, uv_loop_t *loop, const struct provider_options *opts,
                           const struct dialect *dialect) {
    struct tc_str base = tc_str_from(opts->upstream);
    int rc = TC_ENOMEM;

    if (!is_http(opts->upstream)) {
        tc_log(TC_LOG_ERROR, "the upstream must be an http or https URL", TC_LSTR("upstream", base));
        return TC_EINVAL;
    }
    struct upstream *u = calloc(1, sizeof(*u));
    if (!u)
        return TC_ENOMEM;
    u->loop = loop;
    u->dialect = dialect;
    u->prefill = prefill_named(opts->going_on, dialect->prefill);
    while (base.n > 0 && base.p[base.n - 1] == '/')
        base.n--;
    tc_buf_init(&u->url, 0);
    dialect->url(&u->url, base);
    tc_buf_putc(&u->url, 0);
    if (!tc_buf_ok(&u->url) || copy_options(&u->opts, opts) != 0)
        goto err_after_alloc;
    rc = transfer_pool_create(&u->pool, loop);
    if (rc != 0)
        goto err_after_alloc;
    *out = &u->base;
    return 0;

err_after_alloc:
    free_strings(&u->opts);
    tc_buf_fini(&u->url);
    free(u);
    tc_log(TC_LOG_ERROR, "cannot set up the provider", TC_LERR(rc));
    return rc;
}

static int create_openai(struct provider **out, uv_loop_t *loop, const struct provider_options *opts) {
    return upstream_create(out, loop, opts, &dialect_openai);
}

static int create_anthropic(struct provider **out, uv_loop_t *loop, const struct provider_options *opts) {
    return upstream_create(out, loop, opts, &dialect_anthropic);
}

static void on_pool_closed(void *arg) {
    struct upstream *u = arg;
    void (*cb)(void *) = u->close_cb;
    void *cb_arg = u->close_arg;

    free_strings(&u->opts);
    tc_buf_fini(&u->url);
    free(u);
    if (cb)
        cb(cb_arg);
}

static void maybe_finish_close(struct upstream *u) {
    if (u->closing && u->calls == 0)
        transfer_pool_close(u->pool, on_pool_closed, u);
}

void upstream_call_gone(struct upstream *u) {
    assert(u->calls > 0);
    u->calls--;
    maybe_finish_close(u);
}

static void upstream_close(struct provider *p, void (*cb)(void *arg), void *arg) {
    struct upstream *u = TC_CONTAINER_OF(p, struct upstream, base);

    assert(!u->closing);
    u->closing = true;
    u->close_cb = cb;
    u->close_arg = arg;
    maybe_finish_close(u);
}

const struct provider_kind provider_openai = {
    .name = "openai",
    .create = create_openai,
    .close = upstream_close,
    .keeps = upstream_keeps,
    .start = upstream_call_start,
    .pause = upstream_call_pause,
    .resume = upstream_call_resume,
    .free_call = upstream_call_free,
};

const struct provider_kind provider_anthropic = {
    .name = "anthropic",
    .create = create_anthropic,
    .close = upstream_close,
    .keeps = upstream_keeps,
    .start = upstream_call_start,
    .pause = upstream_call_pause,
    .resume = upstream_call_resume,
    .free_call = upstream_call_free,
};
