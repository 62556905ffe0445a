/* GET /v1/generations/{id}/events: a generation as a stream, in the form that Accept asks for. The feed says first
 * whether there is such a generation; then the connection becomes a subscriber's. While Redis is away the request is
 * held rather than refused: an EventSource that is answered 503 never comes back (WHATWG HTML, EventSource). */
#include "api/api.h"
#include "api/join.h"
#include "api/params.h"
#include "api/poll.h"
#include "feed/feed.h"
#include "feed/queue.h"
#include "feed/replay.h"
#include "feed/status.h"
#include "tokencast/error.h"
#include "wire/json.h"

#include <stdlib.h>
#include <string.h>

#define RETRY_MS 1000 /* reconnection hint to EventSource */

struct watch_op {
    struct join join;
    struct api *api;
    struct params params;
};

static void open_json(struct feed *f, struct tc_buf *out) {
    char pos[TC_POSITION_MAX];
    tc_position_format(f->last, pos);
    tc_buf_printf(out, "{\"type\":\"open\",\"id\":\"%s\",\"state\":\"%s\",\"position\":\"%s\"", f->id,
                  feed_state_name(f), pos);
    int64_t ahead = f->started ? -1 : queue_ahead(f->hub, f->job);
    if (ahead >= 0)
        tc_buf_printf(out, ",\"queue_ahead\":%lld", (long long)ahead);
    tc_buf_putc(out, '}');
}

/* The response head, `open`, and a subscriber behind them. */
static void start_stream(struct watch_op *op, struct http_conn *conn, struct feed *f) {
    const struct params *p = &op->params;
    struct track *track;
    struct tc_buf head = {0}, json = {0};
    struct tc_position after = p->after_now ? f->last : p->after;
    struct catchup *catchup = replay_create(f, &p->key, after, p->has_until ? &p->until : NULL, false);
    if (catchup == NULL || fan_track(&f->fan, &p->key, &track) != 0)
        goto err_no_memory;
    replay_tell_status(catchup, status_of_generation(f)); /* `open` says it */
    open_json(f, &json);
    if (!tc_buf_ok(&json) ||
        http_stream_start(conn, 200, p->key.dialect->content_type, NULL, &head, &sub_stream_events, NULL) != 0)
        goto err_no_memory;
    frame_control(&head, &p->key,
                  &(struct dialect_control){.type = "open", .json = tc_buf_str(&json), .retry_ms = RETRY_MS});
    tc_buf_fini(&json);
    struct sub *sub;
    if (sub_create(&sub, &f->fan, track, conn, p->policy, &head, catchup) != 0) {
        http_stream_end(conn, false);
        return;
    }
    http_stream_set_arg(conn, sub);
    sub_pump(sub);
    return;

err_no_memory:
    if (catchup != NULL)
        catchup->destroy(catchup);
    tc_buf_fini(&head);
    tc_buf_fini(&json);
    http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this stream.");
}

/* A poll has a status to go by. */
static void put_off(struct api *a, struct http_conn *conn, const struct params *p, const char *detail) {
    if (p->wait_ms < 0)
        api_come_back(a, conn, p->key.dialect, detail);
    else
        api_unavailable(a, conn, detail);
}

static void on_settled(struct join *j, struct http_conn *conn, struct feed *f, int err) {
    struct watch_op *op = TC_CONTAINER_OF(j, struct watch_op, join);
    const struct params *p = &op->params;
    if (err == TC_ENOTFOUND)
        api_not_found(conn, f->id);
    else if (err == TC_EGONE)
        api_gone(conn, f->id);
    else if (op->api->hub->draining)
        put_off(op->api, conn, p, api_closed(op->api, (struct tc_str){NULL, 0}));
    else if (err != 0)
        put_off(op->api, conn, p, "The generation could not be looked up in time.");
    else if (f->ended && (p->after_now || (p->has_after && tc_position_cmp(p->after, f->last) == 0)))
        http_reply(conn, 204, NULL, NULL, (struct tc_str){NULL, 0}); /* stops EventSource */
    else if (p->wait_ms >= 0)
        poll_start(op->api, conn, f, p);
    else
        start_stream(op, conn, f);
    free(op);
}

void api_watch(struct api *a, struct http_conn *conn, const struct params *params, const char *id) {
    struct watch_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        return;
    }
    op->api = a;
    op->params = *params;
    int err = join_start(&op->join, a, conn, id, on_settled);
    if (err != 0) {
        free(op);
        api_unavailable(a, conn,
                        err == TC_EFULL ? "This broker follows as many generations as it may."
                                        : "The broker has no memory for this request.");
    }
}

void api_events(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id) {
    struct params params;
    const char *why = NULL;
    if (params_parse(&params, req, false, &why) != 0) {
        http_problem(conn, 400, "bad-parameter", "Bad parameter", why);
        return;
    }
    const char *closed = api_closed(a, (struct tc_str){NULL, 0}); /* Redis is waited for */
    if (a->hub->draining)
        put_off(a, conn, &params, closed);
    else if (closed != NULL)
        api_unavailable(a, conn, closed);
    else
        api_watch(a, conn, &params, id);
}
