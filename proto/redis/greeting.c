/* What a connection says first: AUTH, CLIENT SETNAME, SELECT, PING and where asked for ROLE, in one write. PING is the
 * proof: it is refused while the server loads its data, has lost its master, or wants a password. Loop thread; part of
 * struct tc_conn. */
#include "redis/conn.h"
#include "redis/reply.h"

#include "base/log.h"
#include "tokencast/error.h"

#include <stdio.h>
#include <string.h>

/* `refused`: asking again soon is of no use. */
static void fail(struct tc_conn *c, int err, bool refused, const redisReply *reply) {
    char why[256];
    struct tc_str text = tc_reply_str(reply);
    size_t n = text.n < sizeof(why) - 1 ? text.n : sizeof(why) - 1;
    if (n > 0)
        memcpy(why, text.p, n);
    why[n] = '\0';
    /* Some refusals are said before the server has read anything, and so seem to answer the first command. */
    if (tc_reply_is_error(reply, "ERR max number")) {
        err = TC_EREDIS;
        refused = false;
    } else if (tc_reply_is_error(reply, "DENIED")) {
        err = TC_EREDIS;
        refused = true;
    }
    c->refused = refused;
    tc_conn_lose(c, err, why);
}

static bool is_auth_error(const redisReply *reply) {
    return tc_reply_is_error(reply, "NOAUTH") || tc_reply_is_error(reply, "WRONGPASS");
}

static void on_auth(void *arg, int err, const redisReply *reply) {
    const struct tc_conn *c = arg;
    if (c->ev.peer == TC_PEER_SENTINEL)
        return; /* the login is the master's; PING tells whether the sentinel wants one */
    if (err == 0 && tc_reply_is_error(reply, NULL))
        fail(arg, TC_EAUTH, true, reply);
}

/* A name is a convenience: a proxy or an access list that does not allow it costs nothing but the name. */
static void on_name(void *arg, int err, const redisReply *reply) {
    struct tc_conn *c = arg;
    if (err == 0 && tc_reply_is_error(reply, NULL) && !is_auth_error(reply))
        tc_log(TC_LOG_DEBUG, "redis takes no client name", TC_LS("link", c->role), TC_LSTR("why", tc_reply_str(reply)));
}

static void on_select(void *arg, int err, const redisReply *reply) {
    if (err == 0 && tc_reply_is_error(reply, NULL))
        fail(arg, is_auth_error(reply) ? TC_EAUTH : TC_EREDIS, true, reply);
}

static void on_ping(void *arg, int err, const redisReply *reply) {
    const struct tc_conn *c = arg;
    if (err)
        return;
    /* A user who may not PING is logged in all the same. */
    if ((!tc_reply_is_error(reply, NULL) || tc_reply_is_error(reply, "NOPERM")) && c->ev.peer == TC_PEER_MASTER)
        return; /* ROLE has the last word */
    if (!tc_reply_is_error(reply, NULL) || tc_reply_is_error(reply, "NOPERM"))
        tc_conn_greeted(arg);
    else if (is_auth_error(reply))
        fail(arg, TC_EAUTH, true, reply);
    else
        fail(arg, TC_EREDIS, false, reply); /* LOADING, MASTERDOWN, BUSY: passes by itself */
}

/* The sentinels may be behind, and a master that comes back after a failover believes in itself for a while. A user
 * who may not ask for the role takes the sentinels' word. */
static void on_role(void *arg, int err, const redisReply *reply) {
    if (err)
        return;
    if (tc_reply_is_error(reply, "NOPERM"))
        tc_conn_greeted(arg);
    else if (tc_reply_is_error(reply, NULL))
        fail(arg, TC_EREDIS, false, reply);
    else if (reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
             tc_str_is(tc_reply_str(reply->element[0]), "master"))
        tc_conn_greeted(arg);
    else
        tc_conn_lose(arg, TC_EREDIS, "not a master");
}

static int say(struct tc_conn *c, tc_redis_reply_cb cb, int argc, const char **argv) {
    size_t len[3];
    for (int i = 0; i < argc; i++)
        len[i] = strlen(argv[i]);
    return tc_conn_send(c, cb, c, argc, argv, len);
}

static int send_auth(struct tc_conn *c, const struct tc_redis_url *url) {
    /* Servers before 6 know only the form without a user. */
    if (url->user[0])
        return say(c, on_auth, 3, (const char *[]){"AUTH", url->user, url->password});
    return say(c, on_auth, 2, (const char *[]){"AUTH", url->password});
}

int tc_conn_greet(struct tc_conn *c) {
    const struct tc_redis_url *url = &c->link->url;
    int rc = 0;
    if (url->has_password)
        rc = send_auth(c, url);
    if (!rc && c->link->client_name)
        rc = say(c, on_name, 3, (const char *[]){"CLIENT", "SETNAME", c->link->client_name});
    if (!rc && url->db != 0 && c->ev.peer != TC_PEER_SENTINEL) {
        char db[16];
        snprintf(db, sizeof(db), "%d", url->db);
        rc = say(c, on_select, 2, (const char *[]){"SELECT", db});
    }
    if (!rc)
        rc = say(c, on_ping, 1, (const char *[]){"PING"});
    if (!rc && c->ev.peer == TC_PEER_MASTER)
        rc = say(c, on_role, 1, (const char *[]){"ROLE"});
    return rc;
}
