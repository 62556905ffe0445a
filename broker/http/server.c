/* The HTTP server of one loop: who may connect, and opening and closing the whole. Loop thread; owned by its creator.
 *
 * Closing: listener and tick timer first, then every connection; a stream's owner may end its stream later. When the
 * listener, the timer and the last connection are gone (maybe_finish), the memory is freed and the owner is told. */
#include "http/server.h"

#include "base/log.h"
#include "http/conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tokencast/error.h>
#include <unistd.h>

#define STALL_MS         30000 /* an answer that makes no progress */
#define LINGER_MS        2000
#define TURNING_AWAY_MAX 64 /* peers over the limit that are told so; more are just closed */
#define SCARCE_MAX       8  /* of them, when the last descriptors are at stake: each holds one while it lingers */

static void maybe_finish(struct http_server *s) {
    if (!s->closing || s->listener_open || s->waits_open || s->alive > 0)
        return;
    void (*cb)(void *arg) = s->on_closed;
    void *arg = s->closed_arg;
    free(s->scratch);
    free(s);
    if (cb)
        cb(arg);
}

void server_conn_freed(struct http_server *s) {
    s->alive--;
    maybe_finish(s);
}

/* Tells a peer that there is no room for it, as long as not too many others are being told. */
static void turn_away(struct http_server *s, int fd, uint64_t others, int status, const char *title) {
    char body[128], answer[384];
    if (s->turning_away >= others) {
        (void)close(fd);
        return;
    }
    struct http_conn *c = conn_create(s, fd);
    if (c == NULL)
        return;
    int n = snprintf(body, sizeof(body), "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d}\n", title, status);
    n = snprintf(answer, sizeof(answer),
                 "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
                 "Connection: close\r\nRetry-After: 1\r\n\r\n%s",
                 status, title, n, body);
    reply_count(c, status);
    conn_turn_away(c, (struct tc_str){answer, (size_t)n});
}

static void on_accept(void *arg, int fd, const struct sockaddr *peer) {
    struct http_server *s = arg;
    struct http_address *address = NULL;
    s->stats.accepted++;
    if (s->full) {
        s->stats.refused_memory++;
        turn_away(s, fd, TURNING_AWAY_MAX, 503, "Service Unavailable");
        return;
    }
    if (s->stats.connections >= (uint64_t)s->opts.max_connections) {
        s->stats.refused_full++;
        turn_away(s, fd, TURNING_AWAY_MAX, 503, "Service Unavailable");
        return;
    }
    if (s->opts.max_per_address > 0 && address_enter(&s->addresses, peer, s->opts.max_per_address, &address) < 0) {
        s->stats.refused_address++;
        turn_away(s, fd, TURNING_AWAY_MAX, 429, "Too Many Requests");
        return;
    }
    struct http_conn *c = conn_create(s, fd);
    if (c == NULL) {
        address_leave(&s->addresses, address);
        return;
    }
    c->address = address;
    conn_start(c);
}

/* The last descriptors are kept: for the link to Redis and for saying this. */
static void on_scarce(void *arg, int fd) {
    struct http_server *s = arg;
    s->stats.accepted++;
    s->stats.refused_descriptors++;
    turn_away(s, fd, SCARCE_MAX, 503, "Service Unavailable");
}

static void on_pause(void *arg) {
    struct http_server *s = arg;
    if (s->stats.accept_paused++ == 0) /* the metric tells the rest; a log line each would be a flood */
        tc_log(TC_LOG_WARN, "accepting pauses: no descriptors or kernel memory left",
               TC_LI("connections", s->stats.connections));
}

static void on_wait_over(struct wait *w) {
    conn_on_wait(TC_CONTAINER_OF(w, struct http_conn, wait));
}

static void on_listener_closed(void *arg) {
    struct http_server *s = arg;
    s->listener_open = false;
    maybe_finish(s);
}

static const struct listener_events listener_events = {
    .on_accept = on_accept, .on_scarce = on_scarce, .on_pause = on_pause, .on_closed = on_listener_closed};

int http_server_create(struct http_server **out, uv_loop_t *loop, const struct http_options *opts, http_handler handler,
                       void *arg) {
    int rc = TC_ENOMEM;
    struct http_server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return TC_ENOMEM;
    s->loop = loop;
    s->opts = *opts;
    s->opts.listen = NULL;
    s->handler = handler;
    s->arg = arg;
    tc_list_init(&s->conns);
    s->scratch = malloc(HTTP_SCRATCH);
    if (s->scratch == NULL)
        goto err_after_server;
    rc = listener_start(&s->listener, loop, opts->listen, opts->reuse_port, &listener_events, s);
    if (rc < 0)
        goto err_after_scratch;
    const uint64_t lengths[WAIT_KINDS] = {
        [WAIT_HEADER] = (uint64_t)opts->header_timeout_ms,
        [WAIT_BODY] = (uint64_t)opts->body_timeout_ms,
        [WAIT_IDLE] = (uint64_t)opts->keepalive_ms,
        [WAIT_STALL] = STALL_MS,
        [WAIT_LINGER] = LINGER_MS,
    };
    waits_start(&s->waits, loop, lengths, on_wait_over);
    s->listening = s->listener_open = s->waits_open = true;
    *out = s;
    return 0;

err_after_scratch:
    free(s->scratch);
err_after_server:
    free(s);
    return rc;
}

int http_server_port(const struct http_server *s) {
    return s->listener.port;
}

const struct http_stats *http_server_stats(const struct http_server *s) {
    return &s->stats;
}

void http_server_leave(struct http_server *s) {
    s->leaving = true;
}

void http_server_set_full(struct http_server *s, bool full) {
    s->full = full;
}

void http_server_stop_accepting(struct http_server *s) {
    if (!s->listening)
        return;
    s->leaving = true;
    s->listening = false;
    listener_close(&s->listener);
}

static void on_waits_closed(void *arg) {
    struct http_server *s = arg;
    s->waits_open = false;
    maybe_finish(s);
}

void http_server_close(struct http_server *s, void (*cb)(void *arg), void *arg) {
    if (s->closing)
        return;
    s->closing = true;
    s->on_closed = cb;
    s->closed_arg = arg;
    http_server_stop_accepting(s);
    waits_close(&s->waits, on_waits_closed, s);
    /* Owners that are told may end other streams: take one at a time off a list that nodes leave by themselves. */
    struct tc_list all;
    tc_list_move(&s->conns, &all);
    while (!tc_list_empty(&all)) {
        struct http_conn *c = TC_CONTAINER_OF(all.next, struct http_conn, node);
        tc_list_remove(&c->node);
        tc_list_add_tail(&s->conns, &c->node);
        conn_abandon(c);
    }
}
