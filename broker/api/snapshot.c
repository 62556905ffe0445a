/* GET /v1/generations/{id}: what the log says so far, folded, as one JSON object. Reads the log in pages, whose number
 * of entries follows from what the last one weighed: a page is one reply of Redis, and the loop's other commands wait
 * behind it. Nothing is cached, since a page that reloads wants the truth and streams are served from feeds. */
#include "api/api.h"
#include "feed/feed.h"
#include "redis/reply.h"
#include "tokencast/error.h"
#include "wire/fold.h"
#include "wire/json.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_FIRST 64 /* entries; nothing is known of their size */
#define PAGE_LEAST 2  /* a page begins with the last entry of the one before */
#define PAGE_MOST  512
#define PAGE_LIGHT ((size_t)1 << 20) /* bytes of events up to which the next page may have twice the entries */
#define PAGE_HEAVY ((size_t)4 << 20) /* and beyond which it has half as many */

struct snapshot_op {
    struct api *api;
    struct http_conn *conn; /* NULL once the peer left */
    char id[TC_ID_MAX + 1];
    char log[TC_KEY_MAX];
    struct tc_fold fold;
    struct tc_position next; /* newest entry read, fences and garbage too */
    unsigned count;          /* entries of the page asked for */
    bool has_meta;
};

static void ask_page(struct snapshot_op *op);

static void on_gone(void *arg) {
    ((struct snapshot_op *)arg)->conn = NULL;
}

static void op_free(struct snapshot_op *op) {
    if (op->conn != NULL)
        http_on_gone(op->conn, NULL, NULL);
    tc_fold_fini(&op->fold);
    free(op);
}

static void put_member(struct tc_buf *out, const char *key, struct tc_str value) {
    tc_buf_printf(out, ",\"%s\":", key);
    tc_json_string(out, value);
}

static void put_tools(struct tc_buf *out, const struct tc_fold *f) {
    tc_buf_puts(out, ",\"tool_calls\":[");
    for (size_t i = 0; i < f->tool_count; i++) {
        const struct tc_fold_tool *t = &f->tools[i];
        tc_buf_printf(out, "%s{\"index\":%llu", i > 0 ? "," : "", (unsigned long long)t->index);
        put_member(out, "id", tc_buf_str(&t->id));
        put_member(out, "name", tc_buf_str(&t->name));
        put_member(out, "arguments", tc_buf_str(&t->arguments));
        tc_buf_printf(out, ",\"done\":%s%s}", t->done ? "true" : "false", t->invalid ? ",\"invalid\":true" : "");
    }
    tc_buf_putc(out, ']');
}

static void put_end(struct tc_buf *out, const struct tc_fold *f) {
    if (f->error_code.len > 0) {
        tc_buf_puts(out, ",\"error\":{\"code\":");
        tc_json_string(out, tc_buf_str(&f->error_code));
        put_member(out, "message", tc_buf_str(&f->error_message));
        tc_buf_putc(out, '}');
    }
    if (f->usage.len > 0) {
        json_t *usage = tc_mp_to_jansson(tc_buf_str(&f->usage));
        char *text = usage != NULL ? json_dumps(usage, JSON_COMPACT) : NULL;
        if (text != NULL)
            tc_buf_printf(out, ",\"usage\":%s", text);
        free(text);
        json_decref(usage);
    }
    if (!f->ended)
        return;
    put_member(out, "reason", tc_str_from(f->reason));
    tc_buf_printf(out, ",\"duration_ms\":%llu", (unsigned long long)f->duration_ms);
    if (f->has_ttft)
        tc_buf_printf(out, ",\"ttft_ms\":%llu", (unsigned long long)f->ttft_ms);
}

static void answer(struct snapshot_op *op) {
    const struct tc_fold *f = &op->fold;
    struct tc_buf out = {0};
    char pos[TC_POSITION_MAX];
    const struct feed *feed = feed_find(op->api->hub, op->id);
    bool stalled = !f->ended && feed != NULL && feed->state == FEED_READY && feed->stalled;
    tc_position_format(f->position, pos);
    tc_buf_printf(&out, "{\"id\":\"%s\",\"state\":\"%s\",\"position\":\"%s\",\"attempt\":%llu,\"try\":%llu", op->id,
                  stalled ? "stalled" : tc_fold_state(f), pos, (unsigned long long)f->position.attempt,
                  (unsigned long long)f->try_no);
    put_member(&out, "model", tc_str_from(f->model));
    if (f->channel[0] != '\0')
        put_member(&out, "channel", tc_str_from(f->channel));
    put_member(&out, "text", tc_fold_text(f, TC_KIND_TEXT, 0));
    put_member(&out, "reasoning", tc_fold_text(f, TC_KIND_REASONING, 0));
    put_tools(&out, f);
    put_end(&out, f);
    tc_buf_printf(&out, ",\"created_at\":%lld}", (long long)f->created_at);
    if (tc_buf_ok(&out))
        http_reply(op->conn, 200, "application/json", "Cache-Control: no-store\r\n", tc_buf_str(&out));
    else
        http_problem(op->conn, 503, "no-memory", "Out of memory", "The broker has no memory for this answer.");
    tc_buf_fini(&out);
    op->conn = NULL;
    op_free(op);
}

static int take_page(struct snapshot_op *op, const redisReply *reply) {
    for (size_t i = 0; i < reply->elements; i++) {
        struct tc_reply_entry e;
        struct tc_event ev;
        if (tc_reply_entry(reply, i, &e) != 0 || tc_position_cmp(e.position, op->next) <= 0)
            continue;
        op->next = e.position;
        if (tc_event_decode(e.e.p, e.e.n, &ev) != 0 || ev.type == TC_EV_FENCE)
            continue;
        int err = tc_fold_apply(&op->fold, e.position, &ev);
        if (err != 0)
            return err;
    }
    return 0;
}

static void adapt_page(struct snapshot_op *op, const redisReply *reply) {
    size_t bytes = 0;
    for (size_t i = 0; i < reply->elements; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) == 0)
            bytes += e.e.n;
    }
    for (; bytes > PAGE_HEAVY && op->count > PAGE_LEAST; bytes /= 2)
        op->count /= 2;
    if (bytes < PAGE_LIGHT && op->count < PAGE_MOST)
        op->count *= 2;
}

static void on_page(void *arg, int err, const redisReply *reply) {
    struct snapshot_op *op = arg;
    if (op->conn == NULL) {
        op_free(op);
        return;
    }
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY) {
        api_unavailable(op->api, op->conn, "Redis cannot be reached.");
        op->conn = NULL;
        op_free(op);
        return;
    }
    err = take_page(op, reply);
    if (err != 0) {
        http_problem(op->conn, err == TC_ETOOLARGE ? 507 : 503, "too-large", "Snapshot too large",
                     "The text of this generation is longer than a snapshot may be; read its events.");
        op->conn = NULL;
        op_free(op);
    } else if (reply->elements == op->count) {
        adapt_page(op, reply);
        ask_page(op);
    } else if (op->fold.position.seq > 0) {
        answer(op);
    } else {
        api_absent(op->api, op->conn, op->has_meta);
        op->conn = NULL;
        op_free(op);
    }
}

static void ask_page(struct snapshot_op *op) {
    char from[TC_POSITION_MAX];
    tc_position_format(op->next, from);
    int err = tc_redis_command(op->api->redis, tc_str_from(op->log), on_page, op, "XRANGE %s %s + COUNT %u", op->log,
                               op->next.attempt > 0 || op->next.seq > 0 ? from : "-", op->count);
    if (err == 0)
        return;
    api_unavailable(op->api, op->conn, "Redis cannot be reached.");
    op->conn = NULL;
    op_free(op);
}

static void on_meta(void *arg, int err, const redisReply *reply) {
    struct snapshot_op *op = arg;
    if (op->conn == NULL) {
        op_free(op);
        return;
    }
    op->has_meta = err == 0 && reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    ask_page(op);
}

void api_snapshot(struct api *a, struct http_conn *conn, const struct http_request *req, const char *id) {
    (void)req;
    struct snapshot_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        return;
    }
    char meta[TC_KEY_MAX];
    struct tc_str route = {meta, tc_key_gen(meta, a->opts.prefix, TC_KEY_META, id)};
    tc_key_gen(op->log, a->opts.prefix, TC_KEY_LOG, id);
    memcpy(op->id, id, strlen(id) + 1);
    op->api = a;
    op->count = PAGE_FIRST;
    tc_fold_init(&op->fold, (size_t)a->opts.max_log_bytes);
    if (tc_redis_command(a->redis, route, on_meta, op, "EXISTS %s", meta) != 0) {
        api_unavailable(a, conn, "Redis cannot be reached.");
        op_free(op);
        return;
    }
    op->conn = conn;
    http_on_gone(conn, on_gone, op);
    a->stats.snapshots++;
}
