/* The server's own state (private to http/). Loop thread. */
#ifndef BROKER_HTTP_SERVER_H
#define BROKER_HTTP_SERVER_H

#include "base/list.h"
#include "http/address.h"
#include "http/http.h"
#include "http/listener.h"
#include "http/wait.h"

#define HTTP_SCRATCH (64 * 1024)

struct http_server {
    uv_loop_t *loop;
    struct http_options opts; /* opts.listen is not kept */
    http_handler handler;
    void *arg;
    struct http_stats stats;
    struct listener listener;
    struct waits waits;
    struct tc_list conns;           /* all that are not closed */
    struct http_address *addresses; /* hash table */
    char *scratch;                  /* HTTP_SCRATCH bytes; every read lands here first */
    uint64_t alive;                 /* connections whose memory is not yet free */
    uint64_t turning_away;          /* of them, beyond the limits and only lingering */
    bool leaving;                   /* every answer is its connection's last */
    bool full;                      /* no memory for more connections */
    bool listening;                 /* the listener was not asked to close */
    bool listener_open;             /* its handles are not closed yet */
    bool waits_open;
    bool closing;
    void (*on_closed)(void *arg);
    void *closed_arg;
};

/* A connection's memory is about to be freed. */
void server_conn_freed(struct http_server *s);

#endif
