/* See poll.h. The events come from the same replay as a stream's catch-up, encoded as NDJSON and joined with commas. */
#include "api/poll.h"

#include "feed/replay.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES (256 * 1024)

struct poll {
    struct api *api;
    struct http_conn *conn;
    struct feed *feed; /* referenced */
    struct catchup *replay;
    struct tc_buf lines; /* NDJSON */
    uv_timer_t timer;
    bool answered;
};

static void on_closed(uv_handle_t *handle) {
    struct poll *p = handle->data;
    tc_buf_fini(&p->lines);
    free(p);
}

static void stop(struct poll *p) {
    p->answered = true;
    p->replay->destroy(p->replay);
    feed_unref(p->feed);
    uv_close((uv_handle_t *)&p->timer, on_closed);
}

static void answer(struct poll *p) {
    struct feed *f = p->feed;
    char pos[TC_POSITION_MAX];
    tc_position_format(replay_position(p->replay), pos);
    for (size_t i = 0; i + 1 < p->lines.len; i++)
        if (p->lines.data[i] == '\n')
            p->lines.data[i] = ','; /* no raw newline stands inside a JSON text */
    if (p->lines.len > 0)
        p->lines.data[p->lines.len - 1] = ' ';
    struct tc_buf body = {0};
    tc_buf_append(&body, "{\"events\":[", 11);
    tc_buf_put_str(&body, tc_buf_str(&p->lines));
    bool ended = f->ended && tc_position_cmp(replay_position(p->replay), f->last) >= 0;
    tc_buf_printf(&body, "],\"position\":\"%s\",\"state\":\"%s\",\"ended\":%s}", pos, feed_state_name(f),
                  ended ? "true" : "false");
    http_on_gone(p->conn, NULL, NULL);
    if (tc_buf_ok(&body) && tc_buf_ok(&p->lines))
        http_reply(p->conn, 200, "application/json", "Cache-Control: no-store\r\n", tc_buf_str(&body));
    else
        http_problem(p->conn, 503, "no-memory", "Out of memory", "The broker has no memory for this answer.");
    tc_buf_fini(&body);
    stop(p);
}

static void step(void *arg) {
    struct poll *p = arg;
    if (p->answered)
        return;
    enum catchup_result r = CATCHUP_MORE;
    while (r == CATCHUP_MORE && p->lines.len < ANSWER_BYTES)
        r = p->replay->step(p->replay, &p->lines, ANSWER_BYTES);
    if (r == CATCHUP_WAIT && p->lines.len == 0)
        return; /* ready, or the timer */
    if (r == CATCHUP_FAIL) {
        http_on_gone(p->conn, NULL, NULL);
        api_unavailable(p->api, p->conn, "The log of this generation cannot be read.");
        stop(p);
        return;
    }
    if (p->lines.len > 0 || r == CATCHUP_END || p->api->hub->draining || !uv_is_active((uv_handle_t *)&p->timer)) {
        answer(p);
        return;
    }
    replay_wait(p->replay); /* at the head and nothing to tell: wake at the next event */
}

static void on_timer(uv_timer_t *timer) {
    answer(timer->data);
}

static void on_gone(void *arg) {
    stop(arg);
}

void poll_start(struct api *a, struct http_conn *conn, struct feed *f, const struct params *params) {
    struct poll *p = calloc(1, sizeof *p);
    struct track_key key = params->key;
    key.dialect = &dialect_ndjson;
    key.chunked = false;
    struct tc_position after = params->after_now ? f->last : params->after;
    if (p != NULL)
        p->replay = replay_create(f, &key, after, params->has_until ? &params->until : NULL, false);
    if (p == NULL || p->replay == NULL || uv_timer_init(a->loop, &p->timer) != 0) {
        if (p != NULL && p->replay != NULL)
            p->replay->destroy(p->replay);
        free(p);
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        return;
    }
    a->stats.polls++;
    p->api = a;
    p->conn = conn;
    p->feed = f;
    feed_ref(f);
    p->timer.data = p;
    p->replay->ready = step;
    p->replay->arg = p;
    int64_t wait = params->wait_ms < a->opts.max_wait_ms ? params->wait_ms : a->opts.max_wait_ms;
    if (wait > 0)
        uv_timer_start(&p->timer, on_timer, (uint64_t)wait, 0);
    http_on_gone(conn, on_gone, p);
    step(p);
}
