/* One HTTP/1.1 connection to the operations port: one request at a time, a time limit on each. Allocated by its
 * server, which is told when it is gone. Loop thread. */
#ifndef TC_OPS_CONN_H
#define TC_OPS_CONN_H

#include "base/buf.h"
#include "base/http_parse.h"
#include "ops/ops.h"

#include <stdbool.h>
#include <uv.h>

#define TC_OPS_REQUEST_MAX 8192 /* bytes of one request, its body included */
#define TC_OPS_REQUEST_MS  5000 /* for a request to come, and again for its answer to be made and taken */

struct tc_ops_conn {
    struct tc_ops *ops;              /* borrowed: lives longer */
    struct tc_ops_conn *prev, *next; /* in the server's list */
    uv_tcp_t tcp;
    uv_timer_t timer;
    unsigned handles; /* of the two, those whose close callback has not run */
    uv_write_t write; /* ends before tcp's close callback */
    uv_shutdown_t shutdown;
    struct tc_buf out; /* the answer; lent to the kernel while it is written */
    struct tc_http_parser parser;
    size_t request_bytes; /* of the request that is being received */
    char url[128];        /* its target as far as it fits: a longer one is unknown anyway */
    size_t url_len;       /* of the whole target */
    bool answering;       /* a request is complete and its answer is not: nothing is read */
    bool keep_alive;      /* after the answer another request may come */
    bool draining;        /* the last answer is out; what the peer still sends is dropped until it ends */
    bool closing;
    bool awaits_alive;            /* the request is for /livez, and the next tc_ops_alive() answers it */
    struct tc_ops_scrape *scrape; /* lent to whoever gathers the metrics; NULL = none under way */
    char in[TC_OPS_REQUEST_MAX];  /* received and not parsed: from the next, pipelined request */
    size_t in_len;
};

/* Takes the waiting connection of `listener`. On failure it still ends in tc_ops_conn_gone, later. */
void tc_ops_conn_start(struct tc_ops_conn *c, struct tc_ops *ops, uv_loop_t *loop, uv_stream_t *listener);
void tc_ops_conn_close(struct tc_ops_conn *c); /* idempotent; ends in tc_ops_conn_gone, later */

/* Sends the answer to the request at hand. */
void tc_ops_conn_answer(struct tc_ops_conn *c, int status, struct tc_str body);

/* The server's side (ops.c): what to answer to /livez, /readyz and /metrics, and that the connection is closed and its
 * memory the server's. The first and the last may be answered at once. */
void tc_ops_ask_live(struct tc_ops *ops, struct tc_ops_conn *c);
int tc_ops_ask_ready(struct tc_ops *ops, struct tc_buf *why);
void tc_ops_ask_metrics(struct tc_ops *ops, struct tc_ops_conn *c);
void tc_ops_conn_gone(struct tc_ops_conn *c);

/* The peer has left: the scrape's answer is for nobody. */
void tc_ops_scrape_forget(struct tc_ops_scrape *scrape);

#endif
