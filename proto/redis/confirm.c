/* Is this the master? (see confirm.h). Loop thread; part of a struct tc_redis.
 *
 * Happy path: ROLE to the server, SENTINEL MASTER and INFO to the sentinel that the scout is connected to, at once ->
 * both say master, the sentinel of this address and without a doubt -> confirmed. Fails, which counts as not confirmed:
 * no link, no answer, another address, a flag beside "master" (s_down, o_down, failover_in_progress, …), or a sentinel
 * in TILT: it was stopped, or its clock jumped, and for 30 s it looks after nothing (sentinel.c, "TILT mode").
 *
 * A user who may not ask is taken at the sentinels' last word, as in the greeting. */
#define _GNU_SOURCE /* memmem() */
#include "redis/confirm.h"

#include "redis/core.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <stdio.h>
#include <string.h>
#include <utlist.h>

static void ask(struct tc_redis *r);

static void count_off(struct tc_redis *r) {
    struct tc_confirm *c = &r->confirm;
    if (--c->answers > 0)
        return;
    struct tc_redis_inquiry *q, *next, *asked = c->asked;
    bool confirmed = !c->doubtful && !r->closing;
    c->asked = NULL;
    if (c->waiting)
        ask(r);
    else if (!confirmed && r->scout)
        tc_scout_ask(r->scout);
    DL_FOREACH_SAFE(asked, q, next) {
        q->cb(q->arg, confirmed);
    }
}

/* An answer that is an error, lost or refused; true: there is nothing to read. */
static bool is_no_answer(struct tc_confirm *c, int err, const redisReply *reply) {
    bool none = err != 0 || tc_reply_is_error(reply, NULL);
    if (none && !(err == 0 && tc_reply_is_error(reply, "NOPERM")))
        c->doubtful = true;
    return none;
}

static void on_role(void *arg, int err, const redisReply *reply) {
    struct tc_redis *r = arg;
    struct tc_confirm *c = &r->confirm;
    if (!is_no_answer(c, err, reply) && (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
                                         !tc_str_is(tc_reply_str(reply->element[0]), "master")))
        c->doubtful = true;
    count_off(r);
}

static bool names(const redisReply *reply, const struct tc_endpoint *at) {
    struct tc_str port = tc_reply_field(reply, "port");
    char expected[16];
    int n = snprintf(expected, sizeof(expected), "%d", at->port);
    return tc_str_is(tc_reply_field(reply, "ip"), at->host) && tc_str_eq(port, (struct tc_str){expected, (size_t)n}) &&
           tc_str_is(tc_reply_field(reply, "flags"), "master");
}

static void on_named(void *arg, int err, const redisReply *reply) {
    struct tc_redis *r = arg;
    struct tc_confirm *c = &r->confirm;
    if (!is_no_answer(c, err, reply) && !names(reply, &c->at))
        c->doubtful = true;
    count_off(r);
}

static void on_info(void *arg, int err, const redisReply *reply) {
    static const char tilt[] = "sentinel_tilt:1";
    struct tc_redis *r = arg;
    struct tc_confirm *c = &r->confirm;
    if (!is_no_answer(c, err, reply)) {
        struct tc_str info = tc_reply_str(reply);
        if (info.n == 0 || memmem(info.p, info.n, tilt, sizeof(tilt) - 1) != NULL)
            c->doubtful = true;
    }
    count_off(r);
}

static void inquire(struct tc_redis *r, struct tc_conn *conn, tc_redis_reply_cb cb, int argc, const char **argv) {
    size_t len[3];
    for (int i = 0; i < argc; i++)
        len[i] = strlen(argv[i]);
    if (tc_conn_is_up(conn) && tc_conn_send(conn, cb, r, argc, argv, len) == 0)
        r->confirm.answers++;
    else
        r->confirm.doubtful = true;
}

/* On behalf of all who wait. */
static void ask(struct tc_redis *r) {
    struct tc_confirm *c = &r->confirm;
    struct tc_node *n = r->closing ? NULL : r->nodes[0];
    c->asked = c->waiting;
    c->waiting = NULL;
    c->doubtful = !n;
    c->answers = 1;
    if (n) {
        c->at = n->at;
        inquire(r, &n->commands, on_role, 1, (const char *[]){"ROLE"});
        inquire(r, &r->scout->conn, on_named, 3, (const char *[]){"SENTINEL", "MASTER", r->link.url.master});
        inquire(r, &r->scout->conn, on_info, 2, (const char *[]){"INFO", "sentinel"});
    }
    count_off(r);
}

void tc_redis_confirm(struct tc_redis *r, struct tc_redis_inquiry *q) {
    if (r->link.url.kind != TC_REDIS_SENTINEL) {
        q->cb(q->arg, true);
        return;
    }
    DL_APPEND(r->confirm.waiting, q);
    if (!r->confirm.asked)
        ask(r);
}

void tc_confirm_doubt(struct tc_redis *r) {
    struct tc_confirm *c = &r->confirm;
    c->doubtful = true;
    DL_CONCAT(c->asked, c->waiting);
    c->waiting = NULL;
}
