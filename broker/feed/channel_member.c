/* A channel's members: the generations in it that are not over. Happy path: announced -> its feed settles -> what it
 * holds is given out -> every event as it comes -> done, gone. A branch that is lost puts it back to the start; a log
 * that vanishes ends it with `error` and `done` without ids. */
#include "feed/channel_state.h"

#include "base/clock.h"
#include "base/log.h"
#include "feed/gap.h"
#include "feed/status.h"
#include "tokencast/error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct member *member_find(struct channel *c, const char *id) {
    for (struct tc_list *n = c->members.next; n != &c->members; n = n->next) {
        struct member *m = TC_CONTAINER_OF(n, struct member, node);
        if (strcmp(m->feed->id, id) == 0)
            return m;
    }
    return NULL;
}

void member_remove(struct member *m) {
    struct channel *c = m->channel;
    tc_list_remove(&m->node);
    feed_wait_remove(&m->wait);
    feed_unlisten(&m->listener);
    vector_remove(&c->vector, m->feed->id);
    if (m->pending)
        c->pending--;
    feed_unref(m->feed);
    free(m);
}

/* Says something about one generation that is in no log. `rest` are the members after type and generation. */
static void say(struct member *m, const char *type, const char *rest) {
    char room[512];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    tc_buf_printf(&json, "{\"type\":\"%s\",%s%s}", type, m->extra, rest);
    fan_control(&m->channel->fan, &(struct dialect_control){.type = type, .json = tc_buf_str(&json)});
}

/* `id`: what readers come back with from now on; n = 0: what they had. */
static void say_gap(struct member *m, struct tc_position from, struct tc_position to, const char *reason,
                    struct tc_str id) {
    char room[256];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_json_of(&json, m->extra, from, to, to.seq >= from.seq ? to.seq - from.seq + 1 : 0, reason);
    fan_control(&m->channel->fan, &(struct dialect_control){.type = "gap", .json = tc_buf_str(&json), .id = id});
}

static void on_status(void *arg, struct feed *f) {
    char rest[32];
    (void)snprintf(rest, sizeof rest, "\"state\":\"%s\"", status_name(f->told));
    say(arg, "status", rest);
}

static struct tc_position position_of(struct member *m) {
    struct vector_item *item = vector_find(&m->channel->vector, m->feed->id);
    return item != NULL ? item->pos : (struct tc_position){0, 0};
}

/* It has its place in the vector since it became a member, so this cannot be refused. */
static void move_to(struct member *m, struct tc_position pos) {
    struct vector_item *item = vector_find(&m->channel->vector, m->feed->id);
    if (item != NULL)
        item->pos = pos;
}

/* Returns false when that was its last event and the member is gone. */
static bool give(struct member *m, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct channel *c = m->channel;
    bool last = ev->type == TC_EV_DONE;
    move_to(m, pos);
    if (last)
        vector_remove(&c->vector, m->feed->id);
    char room[VECTOR_TEXT_MAX];
    struct tc_buf id = {.data = room, .cap = sizeof room};
    vector_format(&c->vector, &id);
    if (ev->at > 0 && c->fan.latency_at == 0)
        c->fan.latency_at = ev->at;
    struct dialect_event in = {.ev = ev, .raw = raw, .id = tc_buf_str(&id), .extra = m->extra};
    fan_event(&c->fan, pos, &in);
    if (last)
        member_remove(m);
    return !last;
}

static void on_event(void *arg, struct feed *f, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct member *m = arg;
    struct tc_position at = position_of(m);
    struct tc_position kept = history_at(&f->history, 0)->pos;
    if (kept.seq > at.seq + 1) /* the feed found a hole in the log and forgot what lay before it */
        say_gap(m, (struct tc_position){at.attempt, at.seq + 1}, (struct tc_position){kept.attempt, kept.seq - 1},
                "trimmed", (struct tc_str){NULL, 0});
    (void)give(m, pos, ev, raw);
}

static void await_feed(struct member *m) {
    if (!m->pending)
        m->channel->pending++;
    m->pending = true;
    feed_wait_add(m->feed, &m->wait);
}

static void on_lost(void *arg, struct feed *f) {
    struct member *m = arg;
    (void)f;
    struct tc_position seen = position_of(m);
    char room[VECTOR_TEXT_MAX];
    struct tc_buf id = {.data = room, .cap = sizeof room};
    move_to(m, (struct tc_position){0, 0});
    vector_format(&m->channel->vector, &id);
    say_gap(m, (struct tc_position){0, 1}, seen, "lost", tc_buf_str(&id));
    m->channel->hub->stats.gaps_lost++;
    feed_unlisten(&m->listener);
    m->give = true;
    await_feed(m);
}

static void send_away(struct sub *s, void *arg) {
    (void)arg;
    if (s->state == SUB_LIVE)
        sub_end_with(s, "bye", TC_STR("{\"type\":\"bye\",\"reason\":\"behind\"}"), (unsigned)tc_jitter(500, 50));
}

/* Gives out what the history holds; false when the member is gone. */
static bool give_history(struct member *m) {
    const struct history *h = &m->feed->history;
    struct tc_position at = position_of(m);
    uint64_t kept = h->count > 0 ? history_at(h, 0)->pos.seq : m->feed->last.seq + 1;
    if (kept > at.seq + 1) {
        /* Announced long ago and noticed only now, or there was no memory for it. Whoever is live has not seen what is
         * in the log but no longer here: they come back with their position and are caught up from the log. */
        fan_each_sub(&m->channel->fan, send_away, NULL);
    }
    for (size_t i = 0; i < h->count; i++) {
        const struct entry *e = history_at(h, i);
        struct tc_event ev;
        if (tc_position_cmp(e->pos, at) <= 0 || tc_event_decode(e->bytes, e->len, &ev) != 0)
            continue; /* garbage was counted when the feed read it */
        if (!give(m, e->pos, &ev, (struct tc_str){e->bytes, e->len}))
            return false;
    }
    return true;
}

static void vanish(struct member *m) {
    const struct feed *f = m->feed;
    char room[512];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    gap_error_json(&json, m->extra, f->gone_code != NULL ? f->gone_code : "log_gone",
                   f->gone_message != NULL ? f->gone_message : "The log of this generation is not in Redis.");
    fan_control(&m->channel->fan, &(struct dialect_control){.type = "error", .json = tc_buf_str(&json)});
    json.len = 0;
    gap_done_json(&json, m->extra);
    fan_control(&m->channel->fan, &(struct dialect_control){.type = "done", .json = tc_buf_str(&json)});
    member_remove(m);
}

/* Its feed is settled: follows it, or lets it go. */
static void settle(struct member *m) {
    struct feed *f = m->feed;
    if (m->pending)
        m->channel->pending--;
    m->pending = false;
    if (f->state == FEED_FAILED) {
        if (m->give)
            vanish(m);
        else
            member_remove(m);
        return;
    }
    if (m->give && !give_history(m))
        return;
    if (f->ended) {
        member_remove(m);
        return;
    }
    m->give = false;
    move_to(m, f->last);
    feed_listen(f, &m->listener);
}

static void on_settled(void *arg) {
    struct member *m = arg;
    struct channel *c = m->channel;
    if (!feed_settled(m->feed)) {
        feed_wait_add(m->feed, &m->wait);
        return;
    }
    settle(m);
    if (channel_settled(c))
        channel_wake(c);
}

static void leave_out_oldest(struct channel *c) {
    struct member *m = TC_CONTAINER_OF(c->members.next, struct member, node);
    tc_log(TC_LOG_WARN, "too many live generations in a channel: the oldest is no longer shown",
           TC_LS("channel", c->name), TC_LS("gen", m->feed->id));
    say(m, "status", "\"state\":\"left_out\"");
    member_remove(m);
}

int member_add(struct channel *c, struct feed *f, bool give_out, struct member **out) {
    struct member *m = calloc(1, sizeof *m);
    if (m == NULL) {
        feed_unref(f);
        return TC_ENOMEM;
    }
    if (c->vector.count == VECTOR_MAX)
        leave_out_oldest(c);
    int err = vector_set(&c->vector, f->id, (struct tc_position){0, 0});
    if (err != 0) {
        feed_unref(f);
        free(m);
        return err;
    }
    m->channel = c;
    m->feed = f;
    m->give = give_out;
    m->wait = (struct feed_wait){.cb = on_settled, .arg = m};
    m->listener = (struct feed_listener){.on_event = on_event, .on_lost = on_lost, .on_status = on_status, .arg = m};
    channel_name_member(m->extra, sizeof m->extra, f->id);
    tc_list_add_tail(&c->members, &m->node);
    *out = m;
    return 0;
}

void member_follow(struct member *m) {
    if (feed_settled(m->feed))
        settle(m);
    else
        await_feed(m);
}

void members_drop(struct channel *c) {
    while (!tc_list_empty(&c->members))
        member_remove(TC_CONTAINER_OF(c->members.next, struct member, node));
}

void members_sweep(struct channel *c) {
    for (struct tc_list *n = c->members.next, *next; n != &c->members; n = next) {
        next = n->next;
        struct member *m = TC_CONTAINER_OF(n, struct member, node);
        if (c->fan.sub_count > 0)
            m->feed->room_ms = hub_now_ms(c->hub);
        if (!m->pending && m->feed->state == FEED_FAILED)
            vanish(m);
    }
}
