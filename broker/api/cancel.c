/* POST /v1/generations/{id}/cancel. The flag in meta is what counts; the message on `ctl` only makes it quick. Both are
 * repeated until the log has `done`, because a message can be lost and the worker may change. */
#include "api/join.h"
#include "tokencast/error.h"

#include <stdlib.h>

#define REPEAT_MS 1000
#define REPEATS   60

struct cancel_op {
    struct join join; /* first: see join.h */
    struct api *api;
    struct feed *feed;
    struct feed_wait wait;
    uv_timer_t timer;
    int left; /* repeats */
};

static void send_cancel(struct cancel_op *op) {
    char meta[TC_KEY_MAX], ctl[TC_KEY_MAX];
    struct tc_str route = {meta, tc_key_gen(meta, op->api->opts.prefix, TC_KEY_META, op->feed->id)};
    tc_key_gen(ctl, op->api->opts.prefix, TC_KEY_CTL, op->feed->id);
    int err = 0;
    if (op->feed->has_meta) /* a log that a foreign writer made has none, and must not get one */
        err = tc_redis_command(op->api->redis, route, NULL, NULL, "HSET %s cancel 1", meta);
    if (err == 0)
        err = tc_redis_publish(op->api->redis, route, ctl, TC_STR("cancel"));
    (void)err; /* the timer repeats */
}

static void on_closed(uv_handle_t *handle) {
    free(handle->data);
}

static void stop(struct cancel_op *op) {
    if (uv_is_closing((uv_handle_t *)&op->timer))
        return;
    feed_wait_remove(&op->wait);
    feed_unref(op->feed);
    uv_close((uv_handle_t *)&op->timer, on_closed);
}

static void on_change(void *arg) {
    struct cancel_op *op = arg;
    struct feed *f = op->feed;
    if (f->ended || f->state == FEED_FAILED || f->closing)
        stop(op);
    else
        feed_wait_add(f, &op->wait);
}

static void on_timer(uv_timer_t *timer) {
    struct cancel_op *op = timer->data;
    if (op->left-- == 0)
        stop(op);
    else
        send_cancel(op);
}

static void on_settled(struct join *j, struct http_conn *conn, struct feed *f, int err) {
    struct cancel_op *op = TC_CONTAINER_OF(j, struct cancel_op, join);
    struct api *a = op->api;
    bool over = true;
    if (err == TC_ENOTFOUND)
        api_not_found(conn, f->id);
    else if (err == TC_EGONE)
        api_gone(conn, f->id);
    else if (err != 0)
        api_unavailable(a, conn, "The generation could not be looked up in time.");
    else if (f->ended)
        api_accepted(conn, 200, NULL, f->id, feed_state_name(f)); /* it ended before: nothing is changed */
    else if (uv_timer_init(a->loop, &op->timer) != 0)
        api_unavailable(a, conn, "The broker has no memory for this request.");
    else
        over = false;
    if (over) {
        free(op);
        return;
    }
    a->stats.cancels++;
    op->feed = f;
    feed_ref(f);
    op->left = REPEATS;
    op->timer.data = op;
    uv_timer_start(&op->timer, on_timer, REPEAT_MS, REPEAT_MS);
    op->wait = (struct feed_wait){.cb = on_change, .arg = op};
    feed_wait_add(f, &op->wait);
    send_cancel(op);
    api_accepted(conn, 202, NULL, f->id, feed_state_name(f));
}

void api_cancel(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id) {
    (void)req;
    struct cancel_op *op = calloc(1, sizeof *op);
    if (op != NULL) {
        op->api = a;
        if (join_start(&op->join, a, conn, id, on_settled) == 0)
            return;
    }
    free(op);
    api_unavailable(a, conn, "The broker has no room for this request.");
}
