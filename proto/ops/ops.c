/* The operations port (see ops.h): the listener, its connections, and the questions they put to the owner. Loop
 * thread. A full house makes newcomers wait in the kernel's backlog: the one that libuv has announced is taken when a
 * connection ends. */
#include "ops/ops.h"

#include "base/log.h"
#include "base/option.h"
#include "ops/conn.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define MAX_CONNECTIONS 64
#define BACKLOG         128

struct tc_ops {
    uv_loop_t *loop;
    struct tc_ops_handlers handlers;
    uv_tcp_t listener;
    bool listener_live; /* its close callback has not run */
    int port;
    struct tc_ops_conn *conns; /* owned */
    unsigned count;
    bool newcomer; /* libuv has announced one that was not taken yet */
    bool closing;
    void (*close_cb)(void *arg);
    void *close_arg;
};

struct tc_ops_scrape {
    struct tc_ops_conn *conn; /* NULL: the peer has left */
};

/* ---- questions ---- */

int tc_ops_ask_ready(struct tc_ops *ops, struct tc_buf *why) {
    return ops->handlers.ready(ops->handlers.arg, why);
}

void tc_ops_ask_live(struct tc_ops *ops, struct tc_ops_conn *c) {
    if (!ops->handlers.live) {
        tc_ops_conn_answer(c, 200, TC_STR("ok\n"));
        return;
    }
    c->awaits_alive = true;
    ops->handlers.live(ops->handlers.arg);
}

void tc_ops_alive(struct tc_ops *ops) {
    for (struct tc_ops_conn *c = ops->conns; c; c = c->next) /* one that fails is closed, and goes later */
        if (c->awaits_alive)
            tc_ops_conn_answer(c, 200, TC_STR("ok\n"));
}

void tc_ops_ask_metrics(struct tc_ops *ops, struct tc_ops_conn *c) {
    struct tc_ops_scrape *scrape = calloc(1, sizeof(*scrape));
    if (!scrape) {
        tc_ops_conn_answer(c, 503, TC_STR("out of memory\n"));
        return;
    }
    scrape->conn = c;
    c->scrape = scrape;
    ops->handlers.metrics(ops->handlers.arg, scrape);
}

void tc_ops_scrape_done(struct tc_ops_scrape *scrape, struct tc_str text) {
    if (scrape->conn)
        tc_ops_conn_answer(scrape->conn, 200, text);
    free(scrape);
}

void tc_ops_scrape_forget(struct tc_ops_scrape *scrape) {
    scrape->conn = NULL;
}

/* ---- connections ---- */

static void accept_one(struct tc_ops *ops) {
    struct tc_ops_conn *c = ops->count < MAX_CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;
    ops->newcomer = !c;
    if (!c)
        return;
    DL_APPEND(ops->conns, c);
    ops->count++;
    tc_ops_conn_start(c, ops, ops->loop, (uv_stream_t *)&ops->listener);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct tc_ops *ops = listener->data;
    if (status == 0 && !ops->closing)
        accept_one(ops);
}

static void maybe_finish(struct tc_ops *ops) {
    if (!ops->closing || ops->listener_live || ops->conns)
        return;
    void (*cb)(void *) = ops->close_cb;
    void *arg = ops->close_arg;
    free(ops);
    if (cb)
        cb(arg);
}

void tc_ops_conn_gone(struct tc_ops_conn *c) {
    struct tc_ops *ops = c->ops;
    DL_DELETE(ops->conns, c);
    ops->count--;
    free(c);
    if (ops->newcomer && !ops->closing)
        accept_one(ops);
    maybe_finish(ops);
}

/* ---- listening ---- */

static int bind_to(struct tc_ops *ops, const struct sockaddr *address) {
    return uv_tcp_bind(&ops->listener, address, 0);
}

/* A name is resolved here and now: this is startup, and a port that listens later would surprise. */
static int bind_name(struct tc_ops *ops, const char *host, int port) {
    uv_getaddrinfo_t req;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    int rc = uv_getaddrinfo(ops->loop, &req, NULL, host, NULL, &hints);
    if (rc)
        return rc;
    struct sockaddr_storage address;
    memset(&address, 0, sizeof(address));
    memcpy(&address, req.addrinfo->ai_addr, req.addrinfo->ai_addrlen);
    if (address.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&address)->sin6_port = htons((uint16_t)port);
    else
        ((struct sockaddr_in *)&address)->sin_port = htons((uint16_t)port);
    uv_freeaddrinfo(req.addrinfo);
    return bind_to(ops, (const struct sockaddr *)&address);
}

static int bind_host(struct tc_ops *ops, const char *host, int port) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (host[0] == '\0') { /* both families; without IPv6 the old one */
        uv_ip6_addr("::", port, &v6);
        uv_ip4_addr("0.0.0.0", port, &v4);
        int rc = bind_to(ops, (const struct sockaddr *)&v6);
        return rc == UV_EAFNOSUPPORT || rc == UV_EADDRNOTAVAIL ? bind_to(ops, (const struct sockaddr *)&v4) : rc;
    }
    if (uv_ip4_addr(host, port, &v4) == 0)
        return bind_to(ops, (const struct sockaddr *)&v4);
    if (uv_ip6_addr(host, port, &v6) == 0)
        return bind_to(ops, (const struct sockaddr *)&v6);
    return bind_name(ops, host, port);
}

static int listen_on(struct tc_ops *ops, const char *host, int port) {
    int rc = bind_host(ops, host, port);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&ops->listener, BACKLOG, on_connection);
    if (rc)
        return rc;
    struct sockaddr_storage bound;
    int len = sizeof(bound);
    rc = uv_tcp_getsockname(&ops->listener, (struct sockaddr *)&bound, &len);
    if (rc)
        return rc;
    ops->port = ntohs(bound.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&bound)->sin6_port
                                                  : ((struct sockaddr_in *)&bound)->sin_port);
    return 0;
}

static void on_listener_closed(uv_handle_t *handle) {
    struct tc_ops *ops = handle->data;
    ops->listener_live = false;
    maybe_finish(ops);
}

int tc_ops_start(struct tc_ops **out, uv_loop_t *loop, const char *address, const struct tc_ops_handlers *h) {
    char host[256];
    int port;
    int rc = tc_address_split(address, host, sizeof(host), &port);
    if (rc)
        return rc;
    struct tc_ops *ops = calloc(1, sizeof(*ops));
    if (!ops)
        return TC_ENOMEM;
    ops->loop = loop;
    ops->handlers = *h;
    uv_tcp_init(loop, &ops->listener); /* without a socket yet: cannot fail */
    ops->listener.data = ops;
    ops->listener_live = true;
    rc = listen_on(ops, host, port);
    if (rc) {
        tc_log(TC_LOG_ERROR, "operations port cannot listen", TC_LS("address", address), TC_LS("why", uv_strerror(rc)));
        tc_ops_close(ops, NULL, NULL);
        return TC_EIO;
    }
    *out = ops;
    return 0;
}

int tc_ops_port(const struct tc_ops *ops) {
    return ops->port;
}

void tc_ops_close(struct tc_ops *ops, void (*cb)(void *arg), void *arg) {
    assert(!ops->closing);
    ops->closing = true;
    ops->close_cb = cb;
    ops->close_arg = arg;
    uv_close((uv_handle_t *)&ops->listener, on_listener_closed);
    for (struct tc_ops_conn *c = ops->conns; c; c = c->next)
        tc_ops_conn_close(c);
}
