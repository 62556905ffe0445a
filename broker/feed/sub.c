/* One client's stream. See sub.h for its states. */
#include "feed/sub.h"

#include "base/clock.h"
#include "feed/fan.h"
#include "feed/gap.h"
#include "feed/hub.h"
#include "http/batch.h"
#include "tokencast/error.h"

#include <stdlib.h>

#define FILL_BYTES 65536 /* private bytes of a catch-up at a time */
#define TURNS      4     /* catch-up steps before others get their turn */
#define IOV        8
#define AGE_JITTER 25 /* percent: those who came together do not leave together */

enum sent { SENT_ALL, SENT_BLOCKED, SENT_DEAD };

static void on_writable(void *arg);
static void on_gone(void *arg);
static void on_ready(void *arg);

const struct http_stream_events sub_stream_events = {.on_writable = on_writable, .on_gone = on_gone};

static int join_track(struct sub *s, struct track *t) {
    if (t->sub_count == t->sub_cap) {
        uint32_t cap = t->sub_cap ? t->sub_cap * 2 : 4;
        struct sub **subs = realloc(t->subs, cap * sizeof(struct sub *));
        if (subs == NULL)
            return TC_ENOMEM;
        t->subs = subs;
        t->sub_cap = cap;
    }
    s->index = t->sub_count;
    t->subs[t->sub_count++] = s;
    /* The flush under way comes by here, too, and must still come to those whom it has not visited. */
    if (t->todo > 0)
        t->todo++;
    return 0;
}

static void set_blocked(struct sub *s, bool blocked) {
    s->track->blocked += (uint32_t)blocked - (uint32_t)s->blocked;
    s->blocked = blocked;
}

static void leave_track(struct sub *s) {
    struct track *t = s->track;
    set_blocked(s, false);
    struct sub *moved = t->subs[--t->sub_count];
    t->subs[s->index] = moved;
    moved->index = s->index;
    /* Somebody stands elsewhere now, perhaps where the flush has been: it begins its round anew. */
    if (t->todo > 0)
        t->todo = t->sub_count;
}

static void adopt(struct sub *s, struct catchup *c) {
    s->catchup = c;
    s->state = SUB_CATCHUP;
    s->more = true;
    if (c != NULL) {
        c->ready = on_ready;
        c->arg = s;
    }
}

int sub_create(struct sub **out, struct fan *fan, struct track *track, struct http_conn *conn, enum sub_policy policy,
               struct tc_buf *head, struct catchup *catchup) {
    struct sub *s = calloc(1, sizeof *s);
    if (s == NULL || join_track(s, track) != 0) {
        free(s);
        catchup->destroy(catchup);
        tc_buf_fini(head);
        return TC_ENOMEM;
    }
    s->fan = fan;
    s->track = track;
    s->conn = conn;
    s->policy = (uint8_t)policy;
    int64_t age = fan->hub->opts.max_age_ms;
    if (age > 0)
        s->retires_ms = hub_now_ms(fan->hub) + tc_jitter((uint64_t)age, AGE_JITTER);
    adopt(s, catchup);
    s->priv = *head;
    *head = (struct tc_buf){0};
    fan->sub_count++;
    fan->hub->stats.streams++;
    fan->hub->stats.streams_opened++;
    *out = s;
    return 0;
}

static void drop_catchup(struct sub *s) {
    if (s->catchup != NULL)
        s->catchup->destroy(s->catchup);
    s->catchup = NULL;
}

void sub_destroy(struct sub *s, bool clean) {
    struct hub_stats *stats = &s->fan->hub->stats;
    drop_catchup(s);
    leave_track(s);
    s->fan->sub_count--;
    s->fan->hub->shedding -= s->shed;
    stats->streams--;
    if (clean)
        stats->streams_ended++;
    else
        stats->streams_gone++;
    http_stream_end(s->conn, clean);
    tc_buf_fini(&s->priv);
    free(s);
}

static enum sent sent_result(struct sub *s, ssize_t n, size_t wanted) {
    struct hub_stats *stats = &s->fan->hub->stats;
    stats->sends++;
    if (n == TC_EIO)
        return SENT_DEAD;
    if (n > 0)
        stats->bytes += (uint64_t)n;
    if (n >= 0 && (size_t)n == wanted)
        return SENT_ALL;
    set_blocked(s, true);
    stats->blocked++;
    http_stream_want_write(s->conn);
    return SENT_BLOCKED;
}

static enum sent send_private(struct sub *s) {
    if (s->priv_sent == s->priv.len)
        return SENT_ALL;
    struct iovec iov = {s->priv.data + s->priv_sent, s->priv.len - s->priv_sent};
    ssize_t n = http_stream_send(s->conn, &iov, 1);
    if (n > 0)
        s->priv_sent += (size_t)n;
    enum sent r = sent_result(s, n, iov.iov_len);
    if (r == SENT_ALL) {
        if (s->state == SUB_CATCHUP)
            tc_buf_reset(&s->priv);
        else
            tc_buf_fini(&s->priv);
        s->priv_sent = 0;
    }
    return r;
}

static enum sent track_sent(struct sub *s, ssize_t n, size_t wanted) {
    if (n > 0)
        s->off += (uint64_t)n;
    return sent_result(s, n, wanted);
}

static enum sent send_track(struct sub *s) {
    struct iovec iov[IOV];
    size_t bytes;
    int n = track_iov(s->track, s->off, iov, IOV, &bytes);
    if (n == 0)
        return SENT_ALL;
    return track_sent(s, http_stream_send(s->conn, iov, n), bytes);
}

bool sub_batch(struct sub *s, struct http_batch *batch) {
    struct iovec iov[2];
    size_t bytes;
    bool plain = batch != NULL && s->state == SUB_LIVE && s->priv_sent == s->priv.len && s->gap_dropped == 0 &&
                 !s->track->ended && track_iov(s->track, s->off, iov, 2, &bytes) == 1;
    if (!plain || !http_batch_add(batch, s->conn, iov[0].iov_base, bytes, s))
        return false;
    (void)track_sent(s, (ssize_t)bytes, bytes);
    return true;
}

void sub_unsent(void *arg, size_t wanted, ssize_t sent) {
    struct sub *s = arg;
    struct hub_stats *stats = &s->fan->hub->stats;
    s->off -= wanted;
    stats->sends--;
    stats->bytes -= wanted;
    if (track_sent(s, sent, wanted) == SENT_DEAD)
        sub_destroy(s, false);
}

static void tell_gap(struct sub *s) {
    if (s->gap_dropped == 0)
        return;
    char room[256];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_json(&json, s->gap_from, s->gap_to, s->gap_dropped, "overflow");
    frame_control(&s->priv, &s->track->key, &(struct dialect_control){.type = "gap", .json = tc_buf_str(&json)});
    s->gap_dropped = 0;
    s->fan->hub->stats.gaps_overflow++;
}

/* Position of the track just before frame number n. */
static struct tc_position before_frame(const struct track *t, uint64_t n) {
    return n > t->frame_first ? track_frame(t, n - 1)->pos : t->tail_pos;
}

/* Lets the private buffer finish the frame that is half sent; returns the next whole frame's number. */
static uint64_t finish_frame(struct sub *s) {
    struct track *t = s->track;
    uint64_t n = track_frame_at(t, s->off);
    if (n == t->frame_next || track_frame(t, n)->off == s->off)
        return n;
    uint64_t end = track_frame_end(t, n);
    track_copy(t, s->off, end, &s->priv);
    s->off = end;
    return n + 1;
}

static void drop_frame(struct sub *s, uint64_t n) {
    struct tc_position before = before_frame(s->track, n), reach = track_frame(s->track, n)->reach;
    if (s->gap_dropped == 0) {
        s->gap_from = (struct tc_position){reach.attempt, before.seq + 1};
        if (tc_position_cmp(s->gap_from, reach) > 0)
            s->gap_from = reach;
    }
    s->gap_to = reach;
    s->gap_dropped = reach.seq - s->gap_from.seq + 1;
    s->fan->hub->stats.dropped_events++;
}

/* The stale frames up to `target` leave: what must be kept goes to the private buffer, the rest becomes a gap. */
static void drop_until(struct sub *s, uint64_t target) {
    struct track *t = s->track;
    uint64_t n = finish_frame(s);
    for (; n < target; n++) {
        const struct frame *f = track_frame(t, n);
        if (f->keep) {
            tell_gap(s);
            track_copy(t, f->off, track_frame_end(t, n), &s->priv);
        } else if (!f->silent) {
            drop_frame(s, n);
        }
    }
    if (n > target)
        target = n;
    s->off = target == t->frame_next ? t->head_off : track_frame(t, target)->off;
}

/* The first frame from which what is left is at most half the bounds: half, so that a reader who stays slow is told of
 * a few large gaps and not of many small ones. */
static uint64_t drop_target(const struct track *t) {
    uint64_t n = t->frame_next > t->max_events / 2 ? t->frame_next - t->max_events / 2 : 0;
    if (n < t->frame_first)
        n = t->frame_first;
    while (n < t->frame_next && t->head_off - track_frame(t, n)->off > t->max_bytes / 2)
        n++;
    return n;
}

static void end_after(struct sub *s, const char *type, struct tc_str json, unsigned retry_ms) {
    frame_control(&s->priv, &s->track->key,
                  &(struct dialect_control){.type = type, .json = json, .retry_ms = retry_ms});
    frame_end(&s->priv, &s->track->key);
    drop_catchup(s);
    s->state = SUB_ENDING;
}

/* Returns false when the subscriber had to be given up. */
static bool overflow(struct sub *s) {
    struct hub_stats *stats = &s->fan->hub->stats;
    struct track *t = s->track;
    if (s->policy == SUB_DROP) {
        stats->overflow_drop++;
        drop_until(s, drop_target(t));
    } else if (s->policy == SUB_MERGE) {
        stats->overflow_merge++;
        uint64_t n = finish_frame(s);
        adopt(s, s->fan->source.catchup(s->fan->source.arg, t, before_frame(t, n), false));
    } else {
        stats->overflow_close++;
        if (t->key.dialect->append_only) {
            sub_destroy(s, false);
            return false;
        }
        (void)finish_frame(s);
        end_after(s, "bye", TC_STR("{\"type\":\"bye\",\"reason\":\"overflow\"}"), (unsigned)tc_jitter(1000, 50));
    }
    bool lost = !tc_buf_ok(&s->priv) || (s->state == SUB_CATCHUP && s->catchup == NULL);
    if (lost || s->priv.len - s->priv_sent > 2 * t->max_bytes) {
        stats->no_memory += lost;
        sub_destroy(s, false);
        return false;
    }
    return true;
}

static bool lags(const struct sub *s) {
    const struct track *t = s->track;
    uint64_t bytes = t->head_off - s->off;
    if (bytes <= t->max_bytes / 4 && bytes < t->max_events)
        return false; /* a frame has at least one byte: cannot be past either bound */
    return bytes > t->max_bytes || t->frame_next - track_frame_at(t, s->off) > t->max_events;
}

void sub_rescue(struct sub *s, uint64_t new_tail) {
    if (s->state != SUB_LIVE || s->off >= new_tail)
        return;
    if (!s->blocked) { /* not slow: it was only not visited yet */
        enum sent r = send_private(s);
        if (r == SENT_ALL)
            r = send_track(s);
        if (r == SENT_DEAD) {
            sub_destroy(s, false);
            return;
        }
        if (s->off >= new_tail)
            return;
    }
    (void)overflow(s);
}

enum step { STEP_GO, STEP_STOP, STEP_DEAD };

static enum step step_catchup(struct sub *s) {
    switch (s->catchup->step(s->catchup, &s->priv, FILL_BYTES)) {
    case CATCHUP_HEAD:
        drop_catchup(s);
        s->state = SUB_LIVE;
        s->off = s->track->head_off;
        return STEP_GO;
    case CATCHUP_MORE:
        return STEP_GO;
    case CATCHUP_WAIT:
        return s->priv.len > s->priv_sent ? STEP_GO : STEP_STOP;
    case CATCHUP_END:
        frame_end(&s->priv, &s->track->key);
        drop_catchup(s);
        s->state = SUB_ENDING;
        return STEP_GO;
    case CATCHUP_FAIL:
        break;
    }
    return STEP_DEAD;
}

static enum step step_live(struct sub *s) {
    struct track *t = s->track;
    if (s->gap_dropped > 0) {
        tell_gap(s);
        return STEP_GO;
    }
    enum sent r = send_track(s);
    if (r == SENT_DEAD)
        return STEP_DEAD;
    if (r == SENT_BLOCKED)
        return STEP_STOP;
    if (s->off < t->head_off)
        return STEP_GO; /* more segments than one call takes */
    if (!t->ended)
        return STEP_STOP;
    s->state = SUB_ENDING;
    return STEP_GO;
}

void sub_pump(struct sub *s) {
    if (s->blocked)
        return;
    s->more = false;
    for (int turn = 0; turn < TURNS; turn++) {
        if (!tc_buf_ok(&s->priv)) { /* half a frame: sending it would leave a hole that nobody sees */
            s->fan->hub->stats.no_memory++;
            sub_destroy(s, false);
            return;
        }
        enum sent r = send_private(s);
        if (r == SENT_BLOCKED)
            return;
        if (r == SENT_DEAD) {
            sub_destroy(s, false);
            return;
        }
        enum step step = STEP_GO;
        if (s->state == SUB_ENDING) {
            sub_destroy(s, true);
            return;
        }
        step = s->state == SUB_CATCHUP ? step_catchup(s) : step_live(s);
        if (step == STEP_DEAD) {
            sub_destroy(s, false);
            return;
        }
        if (step == STEP_STOP)
            return;
    }
    s->more = true;
    fan_touch(s->fan);
    s->track->todo = s->track->sub_count;
}

static void on_writable(void *arg) {
    struct sub *s = arg;
    set_blocked(s, false);
    if (s->state == SUB_LIVE && lags(s) && !overflow(s))
        return;
    sub_pump(s);
}

static void on_ready(void *arg) {
    sub_pump(arg);
}

static void on_gone(void *arg) {
    sub_destroy(arg, false);
}

void sub_end_with(struct sub *s, const char *type, struct tc_str json, unsigned retry_ms) {
    if (s->state == SUB_ENDING)
        return;
    if (s->track->key.dialect->append_only) {
        sub_destroy(s, false);
        return;
    }
    if (s->state == SUB_LIVE)
        (void)finish_frame(s);
    tell_gap(s);
    end_after(s, type, json, retry_ms);
    sub_pump(s);
}

void sub_restart(struct sub *s, struct catchup *catchup) {
    if (catchup == NULL) {
        s->fan->hub->stats.no_memory++;
        sub_destroy(s, false);
        return;
    }
    if (s->state == SUB_ENDING) {
        catchup->destroy(catchup);
        return;
    }
    struct track *t = s->track;
    if (s->state == SUB_LIVE && t->key.dialect->append_only)
        track_copy(t, s->off, t->head_off, &s->priv); /* what the track said, it has said to everybody */
    else if (s->state == SUB_LIVE)
        (void)finish_frame(s);
    s->gap_dropped = 0;
    drop_catchup(s);
    adopt(s, catchup);
}
