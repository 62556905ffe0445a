/* A writer's life: opened, closed, in trouble. Loop thread; owned by its opener until tc_writer_close's callback.
 *
 * Happy path: open -> (fence.c) -> on_open -> start, text … -> outbox -> append.c -> finish -> on_finished -> close.
 * It fails by on_open's err or by on_lost; both only from the loop. The memory goes when the last Redis command that
 * carries it has called back and its timer is closed. */
#include "publish/writer.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 2000
#define WINDOW_AGE_US  (60U * 1000000U) /* longer than a failover takes to be noticed */

#define TO(state) (1U << (state))

static const unsigned allowed[WRITER_STATES] = {
    [WRITER_OPENING] = TO(WRITER_LIVE) | TO(WRITER_FINISHED) | TO(WRITER_LOST) | TO(WRITER_CLOSED),
    [WRITER_LIVE] = TO(WRITER_FINISHING) | TO(WRITER_RECOVERING) | TO(WRITER_LOST) | TO(WRITER_CLOSED),
    [WRITER_FINISHING] = TO(WRITER_FINISHED) | TO(WRITER_RECOVERING) | TO(WRITER_LOST) | TO(WRITER_CLOSED),
    [WRITER_FINISHED] = TO(WRITER_RECOVERING) | TO(WRITER_LOST) | TO(WRITER_CLOSED),
    [WRITER_RECOVERING] =
        TO(WRITER_LIVE) | TO(WRITER_FINISHING) | TO(WRITER_FINISHED) | TO(WRITER_LOST) | TO(WRITER_CLOSED),
    [WRITER_LOST] = TO(WRITER_CLOSED),
};

void writer_set_state(struct tc_writer *w, enum writer_state state) {
    if (!(allowed[w->state] & TO(state)))
        abort(); /* the programmer's error; going on could write into somebody else's log */
    w->state = state;
}

struct tc_redis *writer_redis(const struct tc_writer *w) {
    return w->publisher->redis;
}

struct tc_str writer_route(const struct tc_writer *w) {
    return (struct tc_str){w->log, w->log_len};
}

/* ---- Closing */

static void maybe_closed(struct tc_writer *w) {
    if (w->state != WRITER_CLOSED || w->pending > 0 || w->handles > 0)
        return;
    void (*cb)(void *) = w->close_cb;
    void *arg = w->close_arg;
    tools_fini(&w->tools);
    outbox_fini(&w->outbox);
    window_fini(&w->window);
    free(w);
    if (cb)
        cb(arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct tc_writer *w = handle->data;
    w->handles--;
    maybe_closed(w);
}

void tc_writer_close(struct tc_writer *w, void (*cb)(void *arg), void *arg) {
    writer_set_state(w, WRITER_CLOSED);
    w->close_cb = cb;
    w->close_arg = arg;
    tc_redis_unsubscribe(writer_redis(w), &w->ctl);
    publisher_remove(w->publisher, w);
    uv_close((uv_handle_t *)&w->timer, on_timer_closed);
}

bool writer_reply_in(struct tc_writer *w) {
    w->pending--;
    if (w->state != WRITER_CLOSED)
        return false;
    maybe_closed(w);
    return true;
}

/* ---- Opening */

static void on_ctl_ready(void *arg) {
    struct tc_writer *w = arg;
    bool first = !w->ctl_ready;
    w->ctl_ready = true;
    hint_read_cancel(w);
    if (first && w->state == WRITER_OPENING)
        fence_begin(w);
}

static void on_ctl_message(void *arg, struct tc_str payload) {
    struct tc_writer *w = arg;
    bool is_cancel = payload.n >= 6 && memcmp(payload.p, "cancel", 6) == 0;
    if (is_cancel && w->state != WRITER_LOST)
        w->cbs.on_cancel(w->arg);
}

static void on_timer(uv_timer_t *timer) {
    struct tc_writer *w = timer->data;
    w->hold = false;
    if (w->state == WRITER_OPENING || w->state == WRITER_RECOVERING)
        fence_begin(w);
    else
        append_next(w);
}

void writer_wait(struct tc_writer *w, uint64_t ms) {
    uv_timer_start(&w->timer, on_timer, ms, 0);
}

void writer_press(struct tc_writer *w) {
    if (w->stopped || w->outbox.bytes <= w->publisher->opts.buffer_bytes)
        return;
    if (w->state != WRITER_LIVE && w->state != WRITER_RECOVERING)
        return;
    w->stopped = true;
    w->cbs.on_pressure(w->arg, true);
}

static void init_timer(struct tc_writer *w) {
    uv_timer_init(w->publisher->loop, &w->timer);
    w->timer.data = w;
    w->handles = 1;
}

static void init_names(struct tc_writer *w, const char *id, const char *model, const char *channel) {
    const char *prefix = w->publisher->prefix;
    snprintf(w->id, sizeof(w->id), "%s", id);
    snprintf(w->model, sizeof(w->model), "%s", model ? model : "");
    snprintf(w->channel, sizeof(w->channel), "%s", channel ? channel : "");
    w->log_len = tc_key_gen(w->log, prefix, TC_KEY_LOG, id);
    tc_key_gen(w->meta, prefix, TC_KEY_META, id);
    tc_key_gen(w->bell, prefix, TC_KEY_BELL, id);
}

static int subscribe_ctl(struct tc_writer *w) {
    char channel[TC_KEY_MAX];
    tc_key_gen(channel, w->publisher->prefix, TC_KEY_CTL, w->id);
    w->ctl = (struct tc_redis_sub){.on_message = on_ctl_message, .on_ready = on_ctl_ready, .arg = w};
    return tc_redis_subscribe(writer_redis(w), &w->ctl, channel);
}

int tc_writer_open(struct tc_writer **out, struct tc_publisher *p, const char *id, bool create, const char *model,
                   const char *channel, const struct tc_writer_callbacks *cbs, void *arg) {
    if (!tc_id_valid(tc_str_from(id)))
        return TC_EINVAL;
    struct tc_writer *w = calloc(1, sizeof(*w));
    if (!w)
        return TC_ENOMEM;
    w->publisher = p;
    w->cbs = *cbs;
    w->arg = arg;
    w->create = create;
    w->ttft_ms = -1;
    w->try_no = 1;
    init_names(w, id, model, channel);
    outbox_init(&w->outbox, (uint64_t)p->opts.flush_tokens, (uint64_t)p->opts.flush_ms * 1000);
    int rc = publisher_add(p, w);
    if (rc < 0)
        goto err_after_alloc;
    rc = subscribe_ctl(w);
    if (rc < 0)
        goto err_after_add;
    init_timer(w);
    *out = w;
    return 0;

err_after_add:
    publisher_remove(p, w);
err_after_alloc:
    free(w);
    return rc;
}

int tc_writer_set_traceparent(struct tc_writer *w, const char *traceparent) {
    if (!w->create || w->state != WRITER_OPENING || w->ctl_ready)
        return TC_ESTATE;
    tc_trace_take(&w->trace, tc_str_from(traceparent), TC_STR(""));
    return w->trace.parent[0] != '\0' ? 0 : TC_EINVAL;
}

void writer_opened(struct tc_writer *w, bool ended) {
    int64_t now = tc_now_us();
    w->age_ms = w->created_us > 0 && now > w->created_us ? (now - w->created_us) / 1000 : 0;
    w->opened_us = tc_mono_us();
    w->ended_before = ended;
    window_init(&w->window, w->base.seq, w->publisher->opts.window_bytes, WINDOW_AGE_US);
    writer_set_state(w, ended ? WRITER_FINISHED : WRITER_LIVE);
    hint_expiry(w, w->opened_us, true);
    w->cbs.on_open(w->arg, 0, w->base, ended);
}

/* ---- Trouble */

void writer_lost(struct tc_writer *w, int err) {
    bool opening = w->state == WRITER_OPENING;
    writer_set_state(w, WRITER_LOST);
    uv_timer_stop(&w->timer);
    w->publisher->stats.fenced += err == TC_EFENCED;
    if (opening)
        w->cbs.on_open(w->arg, err, w->base, false);
    else
        w->cbs.on_lost(w->arg, err);
}

void writer_hold(struct tc_writer *w) {
    uint64_t ms = w->backoff_ms ? w->backoff_ms : BACKOFF_MIN_MS;
    w->backoff_ms = ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : ms * 2;
    w->hold = true;
    writer_wait(w, tc_jitter(ms, 20));
}

bool writer_refused(struct tc_writer *w) {
    uint64_t now = tc_mono_us();
    w->publisher->stats.refused++;
    if (!w->refused_us) {
        w->refused_us = now;
        tc_log(TC_LOG_WARN, "Redis refuses writes, trying again", TC_LS("gen", w->id), TC_LTRACE(&w->trace));
    }
    if (now - w->refused_us < (uint64_t)w->publisher->opts.patience_ms * 1000)
        return false;
    tc_log(TC_LOG_ERROR, "Redis refused writes for too long", TC_LS("gen", w->id), TC_LTRACE(&w->trace));
    writer_lost(w, TC_EREDIS);
    return true;
}

void writer_link_up(struct tc_writer *w) {
    if (w->state != WRITER_OPENING && w->state != WRITER_RECOVERING)
        return;
    uv_timer_stop(&w->timer);
    w->hold = false;
    w->backoff_ms = 0;
    fence_begin(w);
}

void writer_link_down(struct tc_writer *w) {
    /* An ended log that was only looked at has nothing to repair: the next check looks again. */
    if (w->ended_before)
        return;
    if (w->state == WRITER_LIVE || w->state == WRITER_FINISHING || w->state == WRITER_FINISHED)
        fence_recover(w);
}

/* ---- What is asked */

int64_t tc_writer_ttft_ms(const struct tc_writer *w) {
    return w->ttft_ms;
}

uint64_t tc_writer_pieces(const struct tc_writer *w) {
    return w->pieces;
}

const char *tc_writer_traceparent(const struct tc_writer *w) {
    return w->trace.parent;
}

struct tc_position tc_writer_position(const struct tc_writer *w) {
    return w->acked;
}

int64_t tc_writer_created_us(const struct tc_writer *w) {
    return w->created_us;
}

int64_t tc_writer_age_ms(const struct tc_writer *w) {
    return w->opened_us ? w->age_ms + (int64_t)((tc_mono_us() - w->opened_us) / 1000) : 0;
}
