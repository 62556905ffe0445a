/* Commands to a Cluster (see call.h). Loop thread.
 *
 * MOVED and ASK say that the command was not run, so repeating it is safe, with two exceptions. Within MULTI the others
 * would have to move with it: the whole transaction fails. And an XADD … NOMKSTREAM builds on what stands before it:
 * if the slot moved by a failover, the log may have lost its end, and the entry would leave a hole that nobody can
 * fill. Its caller gets MOVED and looks first (docs/protocol.md, rule 7). ASK is said in a migration alone, which
 * loses nothing. */
#include "redis/call.h"

#include "redis/core.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REDIRECTS_MAX 3 /* of one command; then its caller gets the error */

enum kind {
    CALL_FREE,   /* may be repeated anywhere */
    CALL_FIXED,  /* may be repeated after ASK */
    CALL_MULTI,  /* begins a transaction */
    CALL_QUEUED, /* is part of one */
    CALL_END,    /* ends it */
};

struct call {
    struct tc_node *node; /* that was asked */
    tc_redis_reply_cb cb;
    void *arg;
    enum kind kind;
    unsigned redirects;
    size_t len; /* bytes kept; 0 if it will not be repeated */
    char bytes[];
};

static void on_reply(void *arg, int err, const redisReply *reply);

/* Argument i of a command that hiredis has formatted: "*n\r\n" and a "$len\r\n…\r\n" each. Empty: there is none. */
static struct tc_str argument(const char *bytes, size_t len, int i) {
    const char *p = memchr(bytes, '\n', len), *end = bytes + len;
    for (; p && ++p < end && *p == '$'; i--) {
        char *text;
        size_t n = strtoul(p + 1, &text, 10);
        text += 2;
        if (i == 0)
            return (struct tc_str){text, n};
        p = text + n + 1;
    }
    return (struct tc_str){NULL, 0};
}

static bool is_word(struct tc_str s, const char *word) {
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static enum kind kind_of(const struct tc_node *n, const char *bytes, size_t len) {
    struct tc_str verb = argument(bytes, len, 0);
    if (is_word(verb, "MULTI"))
        return CALL_MULTI;
    if (n->in_multi)
        return is_word(verb, "EXEC") || is_word(verb, "DISCARD") ? CALL_END : CALL_QUEUED;
    if (is_word(verb, "XADD") && is_word(argument(bytes, len, 2), "NOMKSTREAM"))
        return CALL_FIXED;
    return CALL_FREE;
}

int tc_call_send(struct tc_node *n, tc_redis_reply_cb cb, void *arg, const char *bytes, size_t len) {
    enum kind kind = kind_of(n, bytes, len);
    size_t kept = kind == CALL_FREE || kind == CALL_FIXED ? len : 0;
    if (kept > n->r->link.max_out_bytes || n->r->held > n->r->link.max_out_bytes - kept)
        return TC_EFULL;
    struct call *call = malloc(sizeof(*call) + kept);
    if (!call)
        return TC_ENOMEM;
    *call = (struct call){.node = n, .cb = cb, .arg = arg, .kind = kind, .len = kept};
    if (kept > 0)
        memcpy(call->bytes, bytes, kept);
    int rc = tc_conn_send_bytes(&n->commands, on_reply, call, bytes, len);
    if (rc) {
        free(call);
        return rc;
    }
    n->r->held += kept;
    if (kind == CALL_MULTI || kind == CALL_END)
        n->in_multi = kind == CALL_MULTI;
    return 0;
}

static bool send_to(struct call *call, const struct tc_redirect *to) {
    static const char asking[] = "*1\r\n$6\r\nASKING\r\n";
    int index = tc_node_find(call->node->r, &to->at);
    struct tc_node *n = index < 0 ? NULL : call->node->r->nodes[index];
    if (!n || !tc_conn_is_up(&n->commands) || call->redirects == REDIRECTS_MAX)
        return false;
    if (to->ask && tc_conn_send_bytes(&n->commands, NULL, NULL, asking, sizeof(asking) - 1) != 0)
        return false;
    if (tc_conn_send_bytes(&n->commands, on_reply, call, call->bytes, call->len) != 0)
        return false;
    call->node = n;
    call->redirects++;
    return true;
}

/* true: it is on its way to another node. Otherwise *err is what its caller is told, 0 for the reply. */
static bool redirect(struct call *call, const redisReply *reply, int *err) {
    struct tc_node *n = call->node;
    struct tc_redirect to;
    bool redirected = tc_redirect_read(&to, reply, &n->at);
    if (redirected && !to.ask)
        tc_scout_ask(n->r->scout);
    switch (call->kind) {
    case CALL_FREE:
        return redirected && send_to(call, &to);
    case CALL_FIXED:
        return redirected && to.ask && send_to(call, &to);
    case CALL_MULTI:
        n->multi_failed = false;
        return false;
    case CALL_QUEUED:
        n->multi_failed = n->multi_failed || redirected;
        break;
    case CALL_END:
        redirected = redirected || (n->multi_failed && tc_reply_is_error(reply, "EXECABORT"));
        n->multi_failed = false;
        break;
    }
    *err = redirected ? TC_ELINK : 0;
    return false;
}

static void on_reply(void *arg, int err, const redisReply *reply) {
    struct call *call = arg;
    if (err == 0 && redirect(call, reply, &err))
        return;
    tc_redis_reply_cb cb = call->cb;
    void *cb_arg = call->arg;
    call->node->r->held -= call->len;
    free(call);
    if (cb)
        cb(cb_arg, err, err ? NULL : reply);
}
