/* Routing. Paths are matched on their raw bytes: ids and channel names hold nothing that needs percent-encoding. */
#include "api/api.h"

#include "base/clock.h"
#include "redis/reply.h"
#include "wire/keys.h"

#include <string.h>

static void on_secret(void *arg, int err, const redisReply *reply) {
    struct api *a = arg;
    struct tc_str s = err == 0 ? tc_reply_str(reply) : (struct tc_str){NULL, 0};
    if (reply == NULL || reply->type != REDIS_REPLY_STRING || s.n != sizeof a->secret)
        return;
    memcpy(a->secret, s.p, s.n);
    a->has_secret = true;
}

/* All brokers must make the same id of the same Idempotency-Key: the first of them leaves a secret in Redis. A Redis
 * that has come back without it is offered the one in use, and what is there counts: a broker that starts later would
 * otherwise make another one, and those that run would go on with theirs. */
static void ask_secret(void *arg) {
    struct api *a = arg;
    if (a->secret_given)
        return;
    unsigned char offer[sizeof a->secret];
    char key[TC_KEY_MAX];
    tc_key_secret(key, a->opts.prefix);
    if (a->has_secret)
        memcpy(offer, a->secret, sizeof offer);
    else
        tc_random(offer, sizeof offer);
    if (tc_redis_agree(a->redis, on_secret, a, key, offer, sizeof offer) != 0)
        return; /* not asked: the link is down again, and the next change asks */
}

void api_init(struct api *a, uv_loop_t *loop, struct hub *hub, const struct cors *cors,
              const struct api_options *opts) {
    *a = (struct api){.loop = loop, .hub = hub, .redis = hub->redis, .cors = cors, .opts = *opts};
    a->watch = (struct tc_redis_watch){.on_change = ask_secret, .arg = a};
    tc_redis_watch_add(a->redis, &a->watch);
}

void api_set_secret(struct api *a, const unsigned char *secret, size_t n) {
    memcpy(a->secret, secret, n < sizeof a->secret ? n : sizeof a->secret);
    a->has_secret = a->secret_given = true;
}

void api_fini(struct api *a) {
    tc_redis_watch_remove(a->redis, &a->watch);
}

static bool take(struct tc_str *s, const char *prefix) {
    size_t n = strlen(prefix);
    if (s->n < n || memcmp(s->p, prefix, n) != 0)
        return false;
    s->p += n;
    s->n -= n;
    return true;
}

static void not_allowed(struct http_conn *conn, const char *allow) {
    static const char body[] = "{\"type\":\"about:blank\",\"title\":\"Method not allowed\",\"status\":405}";
    http_reply(conn, 405, "application/problem+json", allow, TC_STR(body));
}

typedef void (*id_handler)(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id);

static void with_method(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id,
                        enum http_method method, id_handler handler) {
    if (req->method == method)
        handler(a, conn, req, id);
    else
        not_allowed(conn, method == HTTP_M_POST ? "Allow: POST\r\n" : "Allow: GET\r\n");
}

/* What follows the id decides: "" or "/events" or "/cancel". */
static void route_generation(struct api *a, struct http_conn *conn, const struct http_request *req,
                             struct tc_str rest) {
    const char *slash = memchr(rest.p, '/', rest.n);
    struct tc_str name = {rest.p, slash != NULL ? (size_t)(slash - rest.p) : rest.n};
    struct tc_str tail = {rest.p + name.n, rest.n - name.n};
    char id[TC_ID_MAX + 1];
    if (!tc_id_valid(name)) {
        http_problem(conn, 400, "bad-id", "Malformed id", "Ids are 1 to 64 of A-Z a-z 0-9 _ -.");
        return;
    }
    memcpy(id, name.p, name.n);
    id[name.n] = '\0';
    if (tail.n == 0)
        with_method(a, conn, req, id, HTTP_M_GET, api_snapshot);
    else if (tc_str_is(tail, "/events"))
        with_method(a, conn, req, id, HTTP_M_GET, api_events);
    else if (tc_str_is(tail, "/cancel"))
        with_method(a, conn, req, id, HTTP_M_POST, api_cancel);
    else
        http_problem(conn, 404, "no-route", "No such route", "See docs/http-api.md for the routes.");
}

static void route_channel(struct api *a, struct http_conn *conn, const struct http_request *req, struct tc_str rest) {
    const char *slash = memchr(rest.p, '/', rest.n);
    struct tc_str name = {rest.p, slash != NULL ? (size_t)(slash - rest.p) : rest.n};
    struct tc_str tail = {rest.p + name.n, rest.n - name.n};
    char channel[TC_CHANNEL_MAX + 1];
    if (!tc_id_valid(name)) {
        http_problem(conn, 400, "bad-channel", "Malformed channel", "Channel names are 1 to 64 of A-Z a-z 0-9 _ -.");
        return;
    }
    memcpy(channel, name.p, name.n);
    channel[name.n] = '\0';
    if (tail.n == 0)
        with_method(a, conn, req, channel, HTTP_M_GET, api_channel);
    else if (tc_str_is(tail, "/events"))
        with_method(a, conn, req, channel, HTTP_M_GET, api_channel_events);
    else
        http_problem(conn, 404, "no-route", "No such route", "See docs/http-api.md for the routes.");
}

/* Returns true when the request was a preflight and is answered. */
static bool cross_origin(struct api *a, struct http_conn *conn, const struct http_request *req) {
    char room[512];
    struct tc_buf lines = {.data = room, .cap = sizeof room, .max = sizeof room};
    if (cors_preflight(a->cors, req, &lines)) {
        if (tc_buf_ok(&lines))
            http_extra_headers(conn, tc_buf_str(&lines));
        http_reply(conn, 204, NULL, NULL, (struct tc_str){NULL, 0});
        return true;
    }
    lines.len = 0;
    cors_headers(a->cors, req, &lines);
    if (tc_buf_ok(&lines) && lines.len > 0)
        http_extra_headers(conn, tc_buf_str(&lines));
    return false;
}

void api_handle(void *arg, struct http_conn *conn, const struct http_request *req) {
    struct api *a = arg;
    struct tc_str path = req->path;
    if (cross_origin(a, conn, req))
        return;
    if (tc_str_is(path, "/v1/generations"))
        with_method(a, conn, req, NULL, HTTP_M_POST, api_start);
    else if (take(&path, "/v1/generations/"))
        route_generation(a, conn, req, path);
    else if (take(&path, "/v1/channels/"))
        route_channel(a, conn, req, path);
    else if (!a->opts.page || !api_page(a, conn, req))
        http_problem(conn, 404, "no-route", "No such route", "See docs/http-api.md for the routes.");
}
