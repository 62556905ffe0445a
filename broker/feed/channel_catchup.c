/* A reader's way to the head of a channel. Happy path: channel settled -> the announcements it missed -> each
 * generation of its vector replayed in turn, those that end leave -> one pass in which every one is at its head ->
 * HEAD. Waits for one thing at a time: the channel, a page of its log, a feed, or a replay. Fails: a generation that
 * cannot be said in this wire form, or no memory; one whose log is gone, or that is not of this channel, is left out.
 * Loop thread; owned by its subscriber. */
#include "feed/channel_state.h"

#include "feed/replay.h"
#include "feed/tail.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

struct visit;

struct page {            /* outlives a visit that goes away while Redis is answering */
    struct visit *owner; /* NULL once it went */
};

struct part { /* one generation that the reader is not known to have to its end */
    struct tc_list node;
    struct visit *visit;
    char id[TC_ID_MAX + 1];
    bool ours;              /* the channel says so, not only the reader */
    uint64_t unsure_ms;     /* has the reader had its end? Loop time of the question; 0 = none: it is in the vector */
    struct feed *feed;      /* NULL until it could be had */
    struct catchup *replay; /* NULL until the feed is settled */
    char extra[TC_ID_MAX + 24];
};

struct visit {
    struct catchup base;
    struct channel *channel;
    struct track_key key;
    struct vector vector; /* of what was given out */
    struct tc_list parts; /* struct part, one for each item of the vector */
    bool begun;           /* the channel was settled and the parts are made */
    bool from_now;        /* no position was given */
    bool failed;
    uint64_t ahead_since; /* 1 + channel->reads when its log was found to be behind the reader; 0 = it was not */
    struct page *page;
    struct tc_buf pages;   /* encoded while nobody was stepping */
    struct feed_wait wait; /* for the one thing that is waited for */
};

static void ready(void *arg) {
    struct visit *v = arg;
    if (v->base.ready != NULL)
        v->base.ready(v->base.arg);
}

static enum catchup_result wait_for_channel(struct visit *v) {
    feed_wait_remove(&v->wait);
    channel_wait_add(v->channel, &v->wait);
    return CATCHUP_WAIT;
}

/* ---- parts ---- */

static struct part *find_part(struct visit *v, const char *id) {
    for (struct tc_list *n = v->parts.next; n != &v->parts; n = n->next) {
        struct part *p = TC_CONTAINER_OF(n, struct part, node);
        if (strcmp(p->id, id) == 0)
            return p;
    }
    return NULL;
}

static int add_part(struct visit *v, const char *id, bool ours) {
    struct part *p = calloc(1, sizeof *p);
    if (p == NULL)
        return TC_ENOMEM;
    p->visit = v;
    p->ours = ours;
    memcpy(p->id, id, strlen(id) + 1);
    channel_name_member(p->extra, sizeof p->extra, id);
    tc_list_add_tail(&v->parts, &p->node);
    if (feed_get(v->channel->hub, id, &p->feed) != 0)
        p->feed = NULL; /* asked for again when its turn comes */
    return 0;
}

/* A generation that the reader does not name although it has read past its announcement. Either it has had its end, of
 * which this loop has not heard yet, or a failover has taken that end back. The log knows, read once more. */
static enum catchup_result make_sure(struct visit *v, struct part *p) {
    struct feed *f = p->feed;
    if (f->state == FEED_FAILED || f->ended)
        return CATCHUP_END;
    if (f->looked_ms > p->unsure_ms) {
        p->unsure_ms = 0; /* then from its start, since a repeated event does less harm than a hole */
        return vector_set(&v->vector, p->id, (struct tc_position){0, 0}) == 0 ? CATCHUP_HEAD : CATCHUP_END;
    }
    if (!f->reading)
        tail_read(f);
    feed_wait_remove(&v->wait);
    feed_wait_add(f, &v->wait);
    return CATCHUP_WAIT;
}

/* A generation from its start. TC_EFULL, TC_ENOMEM. */
static int add_new(struct visit *v, const char *id) {
    int err = vector_set(&v->vector, id, (struct tc_position){0, 0});
    return err != 0 ? err : add_part(v, id, true);
}

static void drop_part(struct part *p) {
    tc_list_remove(&p->node);
    vector_remove(&p->visit->vector, p->id);
    if (p->replay != NULL)
        p->replay->destroy(p->replay);
    if (p->feed != NULL)
        feed_unref(p->feed);
    free(p);
}

static void write_id(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_buf *out) {
    struct part *p = arg;
    struct vector *vector = &p->visit->vector;
    struct vector_item *item = vector_find(vector, p->id);
    if (item != NULL)
        item->pos = pos;
    if (ev != NULL && ev->type == TC_EV_DONE)
        vector_remove(vector, p->id);
    vector_format(vector, out);
}

/* CATCHUP_HEAD: it can be replayed. CATCHUP_END: there is nothing to replay. */
static enum catchup_result open_part(struct visit *v, struct part *p) {
    struct channel *c = v->channel;
    if (p->feed == NULL && feed_get(c->hub, p->id, &p->feed) != 0) {
        p->feed = NULL;
        return CATCHUP_FAIL;
    }
    if (!feed_settled(p->feed)) {
        feed_wait_remove(&v->wait);
        feed_wait_add(p->feed, &v->wait);
        return CATCHUP_WAIT;
    }
    if (p->unsure_ms > 0) {
        enum catchup_result sure = make_sure(v, p);
        if (sure != CATCHUP_HEAD)
            return sure;
    }
    /* Who may read a room may not thereby read whatever generation they name in a position. */
    if (p->feed->state == FEED_FAILED || (!p->ours && strcmp(p->feed->channel, c->name) != 0))
        return CATCHUP_END;
    const struct vector_item *item = vector_find(&v->vector, p->id);
    struct tc_position after = item != NULL ? item->pos : (struct tc_position){0, 0};
    p->replay = replay_create(p->feed, &v->key, after, NULL, false);
    if (p->replay == NULL)
        return CATCHUP_FAIL;
    replay_tell_status(p->replay, p->feed->started ? STATUS_RUNNING : STATUS_QUEUED); /* as its events say */
    replay_label(p->replay, &(struct replay_label){.extra = p->extra, .id = write_id, .arg = p});
    p->replay->ready = ready;
    p->replay->arg = v;
    return CATCHUP_HEAD;
}

/* CATCHUP_END: the part is to be dropped. */
static enum catchup_result step_part(struct visit *v, struct part *p, struct tc_buf *out, size_t limit) {
    enum catchup_result result = p->replay != NULL ? CATCHUP_HEAD : open_part(v, p);
    if (result != CATCHUP_HEAD)
        return result;
    do {
        result = p->replay->step(p->replay, out, limit);
    } while (result == CATCHUP_MORE && out->len < limit);
    if (result == CATCHUP_FAIL && p->feed->state == FEED_FAILED)
        return CATCHUP_END;
    if (result != CATCHUP_HEAD)
        return result;
    if (p->feed->ended)
        return CATCHUP_END;
    struct vector_item *item = vector_find(&v->vector, p->id);
    if (item != NULL)
        item->pos = replay_position(p->replay); /* events that this reader leaves out count as seen */
    return CATCHUP_HEAD;
}

/* CATCHUP_HEAD: every part is at its head, now. */
static enum catchup_result step_parts(struct visit *v, struct tc_buf *out, size_t limit) {
    for (struct tc_list *n = v->parts.next, *next; n != &v->parts; n = next) {
        next = n->next;
        struct part *p = TC_CONTAINER_OF(n, struct part, node);
        enum catchup_result result = step_part(v, p, out, limit);
        if (result == CATCHUP_END)
            drop_part(p);
        else if (result != CATCHUP_HEAD)
            return result;
        if (out->len >= limit)
            return CATCHUP_MORE;
    }
    return CATCHUP_HEAD;
}

/* One too many: as the channel does when it is full. */
static void say_left_out(struct visit *v, const struct part *p, struct tc_buf *out) {
    char room[TC_ID_MAX + 96];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    tc_buf_printf(&json, "{\"type\":\"status\",%s\"state\":\"left_out\"}", p->extra);
    frame_control(out, &v->key, &(struct dialect_control){.type = "status", .json = tc_buf_str(&json)});
}

static void leave_out_oldest(struct visit *v, struct tc_buf *out) {
    struct part *p = TC_CONTAINER_OF(v->parts.next, struct part, node);
    say_left_out(v, p, out);
    drop_part(p);
}

/* ---- announcements ---- */

static int announce(struct visit *v, const struct tc_reply_entry *e) {
    struct tc_event ev;
    char gen[TC_ID_MAX + 1];
    v->vector.announced = e->position;
    if (channel_announcement(e->e, &ev, gen) != 0 || find_part(v, gen) != NULL)
        return 0;
    int err = add_new(v, gen);
    if (err != 0)
        return err;
    char room[VECTOR_TEXT_MAX];
    struct tc_buf id = {.data = room, .cap = sizeof room};
    vector_format(&v->vector, &id);
    struct dialect_event in = {.ev = &ev, .raw = e->e, .id = tc_buf_str(&id)};
    return frame_event(&v->pages, &v->key, &in);
}

static void take_page(struct visit *v, const redisReply *reply) {
    struct tc_position before = v->vector.announced, end = v->channel->vector.announced;
    for (size_t i = 0; i < reply->elements; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) != 0 || tc_position_cmp(e.position, v->vector.announced) <= 0 ||
            tc_position_cmp(e.position, end) > 0)
            continue;
        if (announce(v, &e) != 0) {
            v->failed = true;
            return;
        }
    }
    if (tc_position_cmp(v->vector.announced, before) == 0) /* nothing is left of them */
        v->vector.announced = end;
}

static void on_page(void *arg, int err, const redisReply *reply) {
    struct page *page = arg;
    struct visit *v = page->owner;
    free(page);
    if (v == NULL)
        return;
    v->page = NULL;
    if (err == 0 && reply->type == REDIS_REPLY_ARRAY) {
        take_page(v, reply);
        ready(v);
    } else {
        (void)wait_for_channel(v); /* its next sweep or read wakes us to try again */
    }
}

static enum catchup_result ask_page(struct visit *v) {
    struct channel *c = v->channel;
    struct page *page = calloc(1, sizeof *page);
    if (page == NULL)
        return CATCHUP_FAIL;
    char from[TC_POSITION_MAX], to[TC_POSITION_MAX];
    tc_position_format(v->vector.announced, from);
    tc_position_format(c->vector.announced, to);
    if (tc_redis_command(c->hub->redis, tc_str_from(c->log_key), on_page, page, "XRANGE %s (%s %s COUNT %d", c->log_key,
                         from, to, (int)(VECTOR_MAX - v->vector.count)) != 0) {
        free(page);
        return wait_for_channel(v);
    }
    page->owner = v;
    v->page = page;
    c->hub->stats.log_reads++;
    return CATCHUP_WAIT;
}

/* The reader has seen announcements that this broker has not: they are about to be read, or their log was lost. */
static enum catchup_result ahead(struct visit *v) {
    struct channel *c = v->channel;
    if (v->ahead_since == 0) {
        v->ahead_since = 1 + c->reads;
        channel_read(c);
    } else if (c->reads >= v->ahead_since) {
        v->vector.announced = c->vector.announced;
        return CATCHUP_HEAD;
    }
    return wait_for_channel(v);
}

/* ---- the whole ---- */

static int begin(struct visit *v) {
    struct channel *c = v->channel;
    if (!v->from_now) {
        for (size_t i = 0; i < v->vector.count; i++) {
            const char *id = v->vector.items[i].id;
            if (find_part(v, id) == NULL && add_part(v, id, member_find(c, id) != NULL) != 0)
                return TC_ENOMEM;
        }
    } else {
        v->vector.announced = c->vector.announced;
        for (struct tc_list *n = c->members.next; n != &c->members; n = n->next)
            if (add_new(v, TC_CONTAINER_OF(n, struct member, node)->feed->id) != 0)
                return TC_ENOMEM;
    }
    v->begun = true;
    return 0;
}

/* What the reader will hear of once it is live but has no position in. */
static int add_missing(struct visit *v, bool *added) {
    struct channel *c = v->channel;
    *added = false;
    for (struct tc_list *n = c->members.next; n != &c->members; n = n->next) {
        struct feed *f = TC_CONTAINER_OF(n, struct member, node)->feed;
        if (f->state != FEED_READY || f->ended || find_part(v, f->id) != NULL || v->vector.count == VECTOR_MAX)
            continue;
        if (add_part(v, f->id, true) != 0)
            return TC_ENOMEM;
        TC_CONTAINER_OF(v->parts.prev, struct part, node)->unsure_ms = hub_now_ms(c->hub);
        *added = true;
    }
    return 0;
}

/* The reader goes live: generations of this channel that it alone knew of become everybody's. */
static int share_parts(struct visit *v, struct tc_buf *out) {
    struct channel *c = v->channel;
    for (struct tc_list *n = v->parts.next; n != &v->parts; n = n->next) {
        struct part *p = TC_CONTAINER_OF(n, struct part, node);
        struct member *m;
        if (member_find(c, p->id) != NULL)
            continue;
        if (c->vector.count == VECTOR_MAX) {
            say_left_out(v, p, out);
            continue;
        }
        feed_ref(p->feed);
        if (member_add(c, p->feed, false, &m) != 0)
            return TC_ENOMEM;
        member_follow(m); /* settled and at its head: listens from here on */
    }
    return 0;
}

static enum catchup_result go_on(struct visit *v, struct tc_buf *out, size_t limit) {
    struct channel *c = v->channel;
    for (;;) {
        int order = tc_position_cmp(v->vector.announced, c->vector.announced);
        if (order > 0) {
            if (ahead(v) == CATCHUP_WAIT)
                return CATCHUP_WAIT;
            continue;
        }
        if (order < 0 && v->vector.count < VECTOR_MAX)
            return ask_page(v);
        enum catchup_result result = step_parts(v, out, limit);
        if (result != CATCHUP_HEAD)
            return result;
        if (order < 0) {
            if (v->vector.count == VECTOR_MAX)
                leave_out_oldest(v, out);
            continue;
        }
        bool added;
        if (add_missing(v, &added) != 0)
            return CATCHUP_FAIL;
        if (!added)
            return share_parts(v, out) == 0 ? CATCHUP_HEAD : CATCHUP_FAIL;
    }
}

static enum catchup_result step(struct catchup *base, struct tc_buf *out, size_t limit) {
    struct visit *v = TC_CONTAINER_OF(base, struct visit, base);
    if (v->pages.len > 0) {
        tc_buf_put_str(out, tc_buf_str(&v->pages));
        tc_buf_reset(&v->pages);
    }
    if (v->failed || !tc_buf_ok(&v->pages) || v->channel->closing)
        return CATCHUP_FAIL;
    if (v->page != NULL)
        return CATCHUP_WAIT;
    if (out->len >= limit)
        return CATCHUP_MORE;
    if (!channel_settled(v->channel))
        return wait_for_channel(v);
    if (!v->begun && begin(v) != 0)
        return CATCHUP_FAIL;
    return go_on(v, out, limit);
}

static void destroy(struct catchup *base) {
    struct visit *v = TC_CONTAINER_OF(base, struct visit, base);
    if (v->page != NULL)
        v->page->owner = NULL;
    feed_wait_remove(&v->wait);
    while (!tc_list_empty(&v->parts))
        drop_part(TC_CONTAINER_OF(v->parts.next, struct part, node));
    tc_buf_fini(&v->pages);
    channel_unref(v->channel);
    free(v);
}

struct catchup *channel_catchup(struct channel *c, const struct track_key *key, const struct vector *after) {
    struct visit *v = calloc(1, sizeof *v);
    if (v == NULL)
        return NULL;
    v->base = (struct catchup){.step = step, .destroy = destroy};
    v->channel = c;
    v->key = *key;
    v->key.pace = PACE_TOKEN;
    v->from_now = after == NULL;
    if (after != NULL)
        v->vector = *after;
    v->wait = (struct feed_wait){.cb = ready, .arg = v};
    tc_list_init(&v->parts);
    channel_ref(c);
    return &v->base;
}
