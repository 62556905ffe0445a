/* Is the log still what this writer believes (rule 8)? Its last entry tells of a later attempt and of a lost tail; its
 * length tells of a tail that was lost and written over before anybody looked: the last entry is mine, but there is a
 * hole before it that nobody can fill. A log that was trimmed is shorter too, but begins elsewhere. */
#include "publish/writer.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/reply.h"

static bool is_writing(const struct tc_writer *w) {
    return w->state == WRITER_LIVE || w->state == WRITER_FINISHING || w->state == WRITER_FINISHED;
}

static void answer(struct tc_writer *w, bool agrees) {
    w->missing = 0;
    w->checking = false;
    if (w->cbs.on_checked)
        w->cbs.on_checked(w->arg, agrees);
}

/* The position of the only entry of an answer; false: no such answer. */
static bool read_position(int err, const redisReply *reply, struct tc_position *out) {
    struct tc_reply_entry entry;
    if (err < 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 || tc_reply_entry(reply, 0, &entry) < 0)
        return false;
    *out = entry.position;
    return true;
}

static void on_head(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    struct tc_position head;
    if (writer_reply_in(w))
        return;
    if (!is_writing(w) || !read_position(err, reply, &head)) {
        answer(w, false);
    } else if (tc_position_cmp(head, w->head) != 0) {
        w->head = head;
        w->length -= w->missing;
        answer(w, true);
    } else {
        tc_log(TC_LOG_WARN, "the log has a hole", TC_LS("gen", w->id), TC_LI("entries", w->missing),
               TC_LTRACE(&w->trace));
        writer_lost(w, TC_EAGAIN);
    }
}

static void ask_head(struct tc_writer *w) {
    if (tc_redis_command(writer_redis(w), writer_route(w), on_head, w, "XRANGE %s - + COUNT 1", w->log) == 0)
        w->pending++;
    else
        answer(w, false);
}

/* Replies come in order: nothing sent after the questions is acknowledged before their answers. */
static void on_length(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    int64_t length;
    if (!writer_reply_in(w) && err == 0 && tc_reply_int(reply, &length))
        w->missing = w->length - length;
}

static void on_tail(void *arg, int err, const redisReply *reply) {
    struct tc_writer *w = arg;
    struct tc_position tail = {0};
    if (writer_reply_in(w))
        return;
    if (!is_writing(w) || err < 0 || reply->type != REDIS_REPLY_ARRAY) {
        answer(w, false);
    } else if (!read_position(err, reply, &tail) || tc_position_cmp(tail, w->top) != 0) {
        if (w->ended_before) {
            writer_lost(w, TC_EAGAIN);
            return;
        }
        fence_recover(w);
        answer(w, false);
    } else if (w->missing > 0) {
        ask_head(w);
    } else {
        answer(w, true);
    }
}

int tc_writer_check(struct tc_writer *w) {
    struct tc_redis *redis = writer_redis(w);
    if (w->checking)
        return 0; /* its answer serves */
    if (!is_writing(w) || tc_redis_command(redis, writer_route(w), on_length, w, "XLEN %s", w->log) < 0)
        return TC_EAGAIN;
    w->pending++;
    if (tc_redis_command(redis, writer_route(w), on_tail, w, "XREVRANGE %s + - COUNT 1", w->log) < 0)
        return TC_EAGAIN;
    w->pending++;
    w->checking = true;
    hint_read_cancel(w);
    hint_expiry(w, tc_mono_us(), false);
    return 0;
}
