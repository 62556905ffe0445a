/* The broker's HTTP surface on one loop: routes and what their handlers share. docs/http-api.md is its reference.
 * Loop thread; owned by the loop's main object. */
#ifndef BROKER_API_API_H
#define BROKER_API_API_H

#include "access/cors.h"
#include "feed/hub.h"
#include "http/http.h"
#include "redis/redis.h"

#include <jansson.h>

struct api_options {
    const char *prefix, *queue; /* as the hub's */
    int64_t retention_ms;       /* TTL of a generation's keys at creation */
    int64_t max_log_bytes;      /* a snapshot beyond it is refused */
    int64_t max_wait_ms;        /* of a long poll */
    bool page;                  /* serve the page at / */
};

struct api_stats { /* counters, but for `pending` */
    uint64_t started, repeated, cancels, snapshots, polls, unavailable;
};

struct api {
    uv_loop_t *loop;
    struct hub *hub; /* borrowed, as all below */
    struct tc_redis *redis;
    const struct cors *cors;
    struct api_options opts;
    struct api_stats stats;
    struct tc_redis_watch watch;
    unsigned char secret[32]; /* key of ids from Idempotency-Key, common to all brokers */
    bool has_secret;
    bool secret_given;   /* by the operator: Redis is not asked */
    uint64_t refusal_ms; /* loop time from which another refusal is logged */
};

void api_init(struct api *a, uv_loop_t *loop, struct hub *hub, const struct cors *cors, const struct api_options *opts);
/* With a secret of its own (NULL: the one that the brokers share in Redis, made by the first). */
void api_set_secret(struct api *a, const unsigned char *secret, size_t n);
void api_fini(struct api *a);

/* http_handler; arg is the api. */
void api_handle(void *arg, struct http_conn *conn, const struct http_request *req);

/* Handlers; `id` is valid and NUL-terminated. Each answers the connection, now or later. */
void api_start(struct api *a, struct http_conn *conn, const struct http_request *req, const char *none);
void api_snapshot(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id);
void api_events(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id);
void api_cancel(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id);
void api_channel(struct api *a, struct http_conn *conn, const struct http_request *req, const char *channel);
void api_channel_events(struct api *a, struct http_conn *conn, const struct http_request *req, const char *channel);
/* False: not a file of the page. */
bool api_page(struct api *a, struct http_conn *conn, const struct http_request *req);

/* Why nothing new is begun here now, as a static text; NULL = it is. `key`: whose Redis must be there; n = 0: none. */
const char *api_closed(const struct api *a, struct tc_str key);
/* Answers that several handlers give. */
void api_unavailable(struct api *a, struct http_conn *conn, const char *detail); /* 503, Retry-After */
/* To one who asks for a stream that cannot be had now, because the broker drains or Redis is away: a stream that says
 * when to come back, and ends. An EventSource that is answered 503 never comes back (WHATWG HTML, EventSource). 503
 * with `detail` in a form that has no word for it. */
void api_come_back(struct api *a, struct http_conn *conn, const struct dialect *dialect, const char *detail);
void api_not_found(struct http_conn *conn, const char *id); /* 404 */
void api_gone(struct http_conn *conn, const char *id);      /* 410 */
/* 404, or 410 if it existed; 503 as long as that may be a former master's word. Later, or at once. */
void api_absent(struct api *a, struct http_conn *conn, bool existed);
/* 202/200 with {"id","state","events_url","cancel_url"}. */
void api_accepted(struct http_conn *conn, int status, const char *extra, const char *id, const char *state);

#endif
