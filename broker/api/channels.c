/* Channels: GET /v1/channels/{channel} says what is live in a room, …/events is the room's stream. */
#include "api/api.h"
#include "api/params.h"
#include "feed/channel.h"
#include "redis/reply.h"
#include "tokencast/error.h"
#include "wire/json.h"

#include <stdlib.h>
#include <string.h>

#define LISTED   64
#define RETRY_MS 1000

struct listed {
    char id[TC_ID_MAX + 1];
    char model[129];
    int64_t created_at;
    const char *state; /* NULL: ended or gone, not listed */
};

struct list_op {
    struct api *api;
    struct http_conn *conn; /* NULL once the peer left */
    char channel[TC_CHANNEL_MAX + 1];
    struct listed items[LISTED];
    size_t count, asked, answered;
};

struct list_call {
    struct list_op *op;
    struct listed *item;
};

static void on_gone(void *arg) {
    ((struct list_op *)arg)->conn = NULL;
}

static void finish(struct list_op *op) {
    struct tc_buf out = {0};
    tc_buf_printf(&out, "{\"channel\":\"%s\",\"generations\":[", op->channel);
    bool first = true;
    for (size_t i = 0; i < op->count; i++) {
        const struct listed *it = &op->items[i];
        if (it->state == NULL)
            continue;
        tc_buf_printf(&out, "%s{\"id\":\"%s\",\"state\":\"%s\",\"model\":", first ? "" : ",", it->id, it->state);
        tc_json_string(&out, tc_str_from(it->model));
        tc_buf_printf(&out, ",\"created_at\":%lld,\"events_url\":\"/v1/generations/%s/events\"}",
                      (long long)it->created_at, it->id);
        first = false;
    }
    tc_buf_puts(&out, "]}");
    if (op->conn != NULL) {
        http_on_gone(op->conn, NULL, NULL);
        if (tc_buf_ok(&out))
            http_reply(op->conn, 200, "application/json", "Cache-Control: no-store\r\n", tc_buf_str(&out));
        else
            http_problem(op->conn, 503, "no-memory", "Out of memory", "The broker has no memory for this answer.");
    }
    tc_buf_fini(&out);
    free(op);
}

static void on_tail(void *arg, int err, const redisReply *reply) {
    struct list_call *call = arg;
    struct list_op *op = call->op;
    struct listed *item = call->item;
    struct tc_reply_entry last;
    struct tc_event ev;
    free(call);
    if (err == 0 && reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 && tc_reply_entry(reply, 0, &last) == 0) {
        bool readable = tc_event_decode(last.e.p, last.e.n, &ev) == 0;
        if (!readable || ev.type != TC_EV_DONE)
            item->state = last.position.seq <= 1 && last.position.attempt == 0 ? "queued" : "running";
    }
    if (++op->answered == op->asked)
        finish(op);
}

static void ask_state(struct list_op *op, struct listed *item) {
    char log[TC_KEY_MAX];
    struct tc_str route = {log, tc_key_gen(log, op->api->opts.prefix, TC_KEY_LOG, item->id)};
    struct list_call *call = malloc(sizeof *call);
    if (call == NULL)
        return;
    *call = (struct list_call){.op = op, .item = item};
    if (tc_redis_command(op->api->redis, route, on_tail, call, "XREVRANGE %s + - COUNT 1", log) != 0)
        free(call);
    else
        op->asked++;
}

static bool read_announcement(struct listed *item, struct tc_str e) {
    json_t *map = tc_mp_to_jansson(e);
    const char *id = json_string_value(json_object_get(map, "generation"));
    const char *model = json_string_value(json_object_get(map, "model"));
    bool ok = id != NULL && tc_id_valid(tc_str_from(id));
    if (ok) {
        memcpy(item->id, id, strlen(id) + 1);
        item->created_at = json_integer_value(json_object_get(map, "at"));
        if (model != NULL && strlen(model) < sizeof item->model)
            memcpy(item->model, model, strlen(model) + 1);
    }
    json_decref(map);
    return ok;
}

static void on_announcements(void *arg, int err, const redisReply *reply) {
    struct list_op *op = arg;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY) {
        if (op->conn != NULL) {
            http_on_gone(op->conn, NULL, NULL);
            api_unavailable(op->api, op->conn, "Redis cannot be reached.");
        }
        free(op);
        return;
    }
    for (size_t i = 0; i < reply->elements && op->count < LISTED; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) == 0 && read_announcement(&op->items[op->count], e.e))
            op->count++;
    }
    for (size_t i = 0; i < op->count; i++)
        ask_state(op, &op->items[i]);
    if (op->asked == 0)
        finish(op);
}

void api_channel(struct api *a, struct http_conn *conn, const struct http_request *req, const char *channel) {
    (void)req;
    struct list_op *op = calloc(1, sizeof *op);
    char key[TC_KEY_MAX];
    struct tc_str route = {key, tc_key_channel(key, a->opts.prefix, channel, false)};
    if (op != NULL) {
        op->api = a;
        op->conn = conn;
        memcpy(op->channel, channel, strlen(channel) + 1);
        http_on_gone(conn, on_gone, op);
        if (tc_redis_command(a->redis, route, on_announcements, op, "XREVRANGE %s + - COUNT %d", key, LISTED) == 0)
            return;
        http_on_gone(conn, NULL, NULL);
    }
    free(op);
    api_unavailable(a, conn, "Redis cannot be reached.");
}

static void start_stream(struct api *a, struct http_conn *conn, const struct params *p, const struct vector *after,
                         const char *name) {
    struct channel *c;
    struct track *track;
    struct sub *sub;
    struct tc_buf head = {0}, json = {0};
    struct catchup *catchup = NULL;
    if (channel_get(a->hub, name, &c) != 0) {
        api_unavailable(a, conn, "This broker follows as many channels as it may.");
        return;
    }
    struct fan *fan = channel_fan(c);
    int err = fan_track(fan, &p->key, &track);
    if (err == 0) {
        catchup = channel_catchup(c, &p->key, after);
        err = catchup == NULL ? TC_ENOMEM : 0;
    }
    tc_buf_printf(&json, "{\"type\":\"open\",\"channel\":\"%s\"}", name);
    if (err == 0 && !tc_buf_ok(&json))
        err = TC_ENOMEM;
    if (err == 0)
        err = http_stream_start(conn, 200, p->key.dialect->content_type, NULL, &head, &sub_stream_events, NULL);
    if (err != 0) {
        if (catchup != NULL)
            catchup->destroy(catchup);
        tc_buf_fini(&head);
        tc_buf_fini(&json);
        channel_unref(c);
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this stream.");
        return;
    }
    frame_control(&head, &p->key,
                  &(struct dialect_control){.type = "open", .json = tc_buf_str(&json), .retry_ms = RETRY_MS});
    tc_buf_fini(&json);
    if (sub_create(&sub, fan, track, conn, SUB_CLOSE, &head, catchup) != 0) {
        http_stream_end(conn, false);
    } else {
        http_stream_set_arg(conn, sub);
        sub_pump(sub);
    }
    channel_unref(c); /* the subscriber's catch-up and its place on the fan keep it from here on */
}

void api_channel_events(struct api *a, struct http_conn *conn, const struct http_request *req, const char *channel) {
    struct params *p = malloc(sizeof *p);
    struct vector *after = malloc(sizeof *after);
    char key[TC_KEY_MAX];
    struct tc_str log = {key, tc_key_channel(key, a->opts.prefix, channel, false)};
    const char *why = "", *closed = api_closed(a, log);
    bool bad = false;
    if (p == NULL || after == NULL) {
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        goto out;
    }
    bad = params_parse(p, req, true, &why) != 0;
    if (!bad && (p->key.dialect->append_only || p->has_until || p->wait_ms >= 0 || p->key.pace != PACE_TOKEN)) {
        why = "a channel is read as text/event-stream or application/x-ndjson, without until, wait and pace";
        bad = true;
    }
    if (!bad && p->has_after && vector_parse(after, tc_str_from(p->after_text)) != 0) {
        why = "after and Last-Event-ID take a channel position, as sent in id:";
        bad = true;
    }
    if (bad)
        http_problem(conn, 400, "bad-parameter", "Bad parameter", why);
    else if (closed != NULL && a->hub->full && !a->hub->draining) /* another broker may have room: proxies ask it */
        api_unavailable(a, conn, closed);
    else if (closed != NULL)
        api_come_back(a, conn, p->key.dialect, closed);
    else
        start_stream(a, conn, p, p->has_after ? after : NULL, channel);
out:
    free(p);
    free(after);
}
