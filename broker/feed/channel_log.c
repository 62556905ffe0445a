/* Following a channel's log of announcements. Happy path: the newest are read, then every bell means reading on. The
 * bell's payload is not taken as it is: two brokers may announce in another order than their entries have, and the log
 * is the order. A read that fails is repeated by the next sweep; so is one that stopped at a generation for which there
 * was no room. */
#include "feed/channel_state.h"

#include "base/log.h"
#include "redis/reply.h"
#include "tokencast/error.h"
#include "wire/mp.h"

#include <stdio.h>
#include <string.h>

#define READ_ENTRIES VECTOR_MAX

void channel_name_member(char *extra, size_t size, const char *id) {
    (void)snprintf(extra, size, "\"generation\":\"%s\",", id); /* an id needs no escaping */
}

int channel_announcement(struct tc_str raw, struct tc_event *ev, char *id) {
    if (tc_event_decode(raw.p, raw.n, ev) != 0 || !tc_str_is(ev->type_name, "generation"))
        return TC_ESYNTAX;
    struct tc_mp m = {(const unsigned char *)raw.p, (const unsigned char *)raw.p + raw.n};
    struct tc_mp_value map, key, value;
    if (tc_mp_next(&m, &map) != 0 || map.type != TC_MP_MAP)
        return TC_ESYNTAX;
    for (uint32_t i = 0; i < map.v.count; i++) {
        if (tc_mp_next(&m, &key) != 0)
            return TC_ESYNTAX;
        if (key.type != TC_MP_STR || !tc_str_is(key.s, "generation")) {
            if (tc_mp_skip(&m, TC_EVENT_MAX_DEPTH) != 0)
                return TC_ESYNTAX;
            continue;
        }
        if (tc_mp_next(&m, &value) != 0 || value.type != TC_MP_STR || !tc_id_valid(value.s))
            return TC_ESYNTAX;
        memcpy(id, value.s.p, value.s.n);
        id[value.s.n] = '\0';
        return 0;
    }
    return TC_ESYNTAX;
}

/* A generation began in the room. An error: not taken, nothing has changed. */
static int take(struct channel *c, const struct tc_reply_entry *e) {
    struct tc_event ev;
    char gen[TC_ID_MAX + 1];
    struct feed *f;
    struct member *m;
    if (channel_announcement(e->e, &ev, gen) != 0) {
        c->hub->stats.decode_errors++;
        c->vector.announced = e->position;
        return 0;
    }
    if (member_find(c, gen) != NULL) { /* announced twice */
        c->vector.announced = e->position;
        return 0;
    }
    int err = feed_get(c->hub, gen, &f);
    if (err == 0)
        err = member_add(c, f, true, &m);
    if (err != 0)
        return err;
    c->vector.announced = e->position;
    char room[VECTOR_TEXT_MAX];
    struct tc_buf id = {.data = room, .cap = sizeof room};
    vector_format(&c->vector, &id);
    struct dialect_event in = {.ev = &ev, .raw = e->e, .id = tc_buf_str(&id)};
    fan_event(&c->fan, e->position, &in);
    member_follow(m);
    return 0;
}

static void read_done(struct channel *c, bool complete) {
    c->reading = false;
    if (complete) {
        c->reads++;
        c->quiet_ms = hub_now_ms(c->hub);
    }
    bool again = c->again;
    c->again = false;
    if (again)
        channel_read(c);
    channel_wake(c);
}

/* Counts the reply off; false: it is of no use. */
static bool reply_is_good(struct channel *c, int err, const redisReply *reply) {
    if (channel_call_done(c))
        return false;
    if (err == 0 && reply->type == REDIS_REPLY_ARRAY)
        return true;
    if (err == 0)
        tc_log(TC_LOG_WARN, "a channel's log cannot be read", TC_LS("channel", c->name),
               TC_LSTR("reply", tc_reply_str(reply)));
    c->again = false; /* the next sweep tries again */
    read_done(c, false);
    return false;
}

static void on_read(void *arg, int err, const redisReply *reply) {
    struct channel *c = arg;
    if (!reply_is_good(c, err, reply))
        return;
    for (size_t i = 0; i < reply->elements; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) != 0 || tc_position_cmp(e.position, c->vector.announced) <= 0)
            continue;
        err = take(c, &e);
        if (err != 0) {
            tc_log(TC_LOG_WARN, "a generation of a channel waits for room", TC_LS("channel", c->name), TC_LERR(err));
            c->again = false;
            read_done(c, false);
            return;
        }
    }
    if (reply->elements == READ_ENTRIES)
        c->again = true;
    read_done(c, true);
}

void channel_read(struct channel *c) {
    if (c->reading || !c->loaded) {
        c->again = true;
        return;
    }
    char from[TC_POSITION_MAX];
    tc_position_format(c->vector.announced, from);
    if (tc_redis_command(c->hub->redis, tc_str_from(c->log_key), on_read, c, "XRANGE %s (%s + COUNT %d", c->log_key,
                         from, READ_ENTRIES) != 0)
        return;
    c->calls++;
    c->reading = true;
    c->hub->stats.log_reads++;
}

/* ---- loading ---- */

/* Entries come newest first; members are kept in order of announcement. */
static int take_newest(struct channel *c, const redisReply *reply) {
    for (size_t i = reply->elements; i > 0; i--) {
        struct tc_reply_entry e;
        struct tc_event ev;
        char gen[TC_ID_MAX + 1];
        struct feed *f;
        struct member *m;
        if (tc_reply_entry(reply, i - 1, &e) != 0)
            continue;
        c->vector.announced = e.position;
        if (channel_announcement(e.e, &ev, gen) != 0 || member_find(c, gen) != NULL)
            continue;
        int err = feed_get(c->hub, gen, &f);
        if (err == 0)
            err = member_add(c, f, false, &m);
        if (err != 0)
            return err;
        member_follow(m);
    }
    return 0;
}

static void on_loaded(void *arg, int err, const redisReply *reply) {
    struct channel *c = arg;
    if (!reply_is_good(c, err, reply))
        return;
    err = take_newest(c, reply);
    if (err != 0) {
        tc_log(TC_LOG_WARN, "a channel cannot be loaded yet", TC_LS("channel", c->name), TC_LERR(err));
        members_drop(c);
        c->again = false;
    } else {
        c->loaded = true;
    }
    read_done(c, c->loaded);
}

void channel_load(struct channel *c) {
    if (c->reading)
        return;
    c->vector.announced = (struct tc_position){0, 0};
    if (tc_redis_command(c->hub->redis, tc_str_from(c->log_key), on_loaded, c, "XREVRANGE %s + - COUNT %d", c->log_key,
                         READ_ENTRIES) != 0)
        return;
    c->calls++;
    c->reading = true;
    c->hub->stats.log_reads++;
}
