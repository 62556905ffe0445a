/* Subscriptions (see pubsub.h). Loop thread; owned by a struct tc_redis.
 *
 * Re-entrancy: a callback may remove any subscriber, its own included, add some, or close everything. A walk over a
 * channel's subscribers therefore keeps its place in the channel, where a removal moves it on; and a channel is freed
 * only when Redis has answered its UNSUBSCRIBE or the connection is gone, neither of which happens under a callback. */
#include "redis/pubsub.h"

#include "base/buf.h"
#include "base/log.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define HASH_NONFATAL_OOM         1
#define uthash_nonfatal_oom(item) ((item)->unhashed = true)
#include <uthash.h>
#include <utlist.h>

#define BATCH_BYTES 65536        /* of one SUBSCRIBE with many channels */
#define MARKER      "subscribed" /* see subscribe_all */

struct tc_channel {
    UT_hash_handle hh;
    struct tc_redis_sub *subs; /* the subscribers' memory; in order of arrival */
    struct tc_redis_sub *next; /* the walk's place: the one to visit next */
    uint64_t sent, confirmed;  /* SUBSCRIBEs on the present connection, and their answers */
    uint64_t owed;             /* answers of either kind that have not come */
    bool unhashed;             /* out of memory while adding to the table */
    size_t len;
    char name[];
};

/* ---- channels ---- */

static struct tc_channel *find(struct tc_pubsub *ps, const char *name, size_t len) {
    struct tc_channel *ch = NULL;
    HASH_FIND(hh, ps->channels, name, len, ch);
    return ch;
}

static struct tc_channel *create(struct tc_pubsub *ps, const char *name, size_t len) {
    struct tc_channel *ch = calloc(1, sizeof(*ch) + len + 1);
    if (!ch)
        return NULL;
    memcpy(ch->name, name, len);
    ch->len = len;
    HASH_ADD_KEYPTR(hh, ps->channels, ch->name, len, ch);
    if (ch->unhashed) {
        free(ch);
        return NULL;
    }
    return ch;
}

static void destroy(struct tc_pubsub *ps, struct tc_channel *ch) {
    HASH_DELETE(hh, ps->channels, ch);
    free(ch);
}

static void destroy_if_unused(struct tc_pubsub *ps, struct tc_channel *ch) {
    if (!ch->subs && ch->owed == 0)
        destroy(ps, ch);
}

static void detach(struct tc_channel *ch, struct tc_redis_sub *sub) {
    if (ch->next == sub)
        ch->next = sub->next;
    DL_DELETE(ch->subs, sub);
    sub->channel = NULL;
    sub->prev = sub->next = NULL;
}

/* ---- talking to Redis ---- */

static void put_arg(struct tc_buf *b, const char *p, size_t n) {
    tc_buf_putc(b, '$');
    tc_buf_put_u64(b, n);
    tc_buf_puts(b, "\r\n");
    tc_buf_append(b, p, n);
    tc_buf_puts(b, "\r\n");
}

static int send_one(struct tc_pubsub *ps, const char *verb, struct tc_channel *ch) {
    const char *argv[] = {verb, ch->name};
    const size_t len[] = {strlen(verb), ch->len};
    int rc = tc_conn_send(&ps->conn, NULL, NULL, 2, argv, len);
    if (rc == 0)
        ch->owed++;
    return rc;
}

static int subscribe_one(struct tc_pubsub *ps, struct tc_channel *ch) {
    int rc = send_one(ps, "SUBSCRIBE", ch);
    if (rc == 0)
        ch->sent++;
    return rc;
}

static int send_batch(struct tc_pubsub *ps, struct tc_buf *names, size_t count) {
    struct tc_buf head;
    tc_buf_init(&head, 0);
    tc_buf_putc(&head, '*');
    tc_buf_put_u64(&head, count + 1);
    tc_buf_puts(&head, "\r\n");
    put_arg(&head, "SUBSCRIBE", 9);
    tc_buf_put_str(&head, tc_buf_str(names));
    int rc = TC_ENOMEM;
    if (tc_buf_ok(names) && tc_buf_ok(&head))
        rc = tc_conn_send_bytes(&ps->conn, NULL, NULL, head.data, head.len);
    tc_buf_fini(&head);
    tc_buf_reset(names);
    return rc;
}

/* Subscribes everything anew, then the marker, whose answer comes after all the others and so says that this is
 * done. It carries a text, which tells it from the PINGs of a quiet connection. */
static int subscribe_all(struct tc_pubsub *ps) {
    static const char marker[] = "*2\r\n$4\r\nPING\r\n$10\r\n" MARKER "\r\n";
    struct tc_buf names;
    tc_buf_init(&names, 0);
    size_t count = 0;
    int rc = 0;
    for (struct tc_channel *ch = ps->channels; ch && !rc; ch = ch->hh.next) {
        ch->sent++;
        ch->owed++;
        put_arg(&names, ch->name, ch->len);
        count++;
        if (names.len >= BATCH_BYTES || !ch->hh.next) {
            rc = send_batch(ps, &names, count);
            count = 0;
        }
    }
    tc_buf_fini(&names);
    if (!rc)
        rc = tc_conn_send_bytes(&ps->conn, NULL, NULL, marker, sizeof(marker) - 1);
    return rc;
}

static void start_subscribing(struct tc_pubsub *ps) {
    if (!ps->allowed || ps->sent || !tc_conn_is_up(&ps->conn))
        return;
    ps->sent = true;
    int rc = subscribe_all(ps);
    if (rc)
        tc_conn_lose(&ps->conn, rc, "the subscriptions cannot be sent");
}

void tc_pubsub_allow(struct tc_pubsub *ps) {
    ps->allowed = true;
    start_subscribing(ps);
}

void tc_pubsub_disallow(struct tc_pubsub *ps) {
    ps->allowed = false;
}

/* ---- hearing from Redis ---- */

static void on_message(struct tc_pubsub *ps, struct tc_channel *ch, struct tc_str payload) {
    ps->link->stats.messages++;
    if (!ch->subs && ch->owed == 0) {
        (void)!send_one(ps, "UNSUBSCRIBE", ch); /* the first one found no room; the next message tries again */
        return;
    }
    for (struct tc_redis_sub *sub = ch->subs; sub; sub = ch->next) {
        ch->next = sub->next;
        if (sub->ticket == 0)
            sub->on_message(sub->arg, payload);
    }
}

static void on_subscribed(struct tc_channel *ch) {
    ch->confirmed++;
    for (struct tc_redis_sub *sub = ch->subs; sub; sub = ch->next) {
        ch->next = sub->next;
        if (sub->ticket == 0 || sub->ticket > ch->confirmed)
            continue;
        sub->ticket = 0;
        if (sub->on_ready)
            sub->on_ready(sub->arg);
    }
}

/* The answer to a PING is [pong, text] while anything is subscribed, otherwise PONG or the text. */
static bool is_pong(const redisReply *reply) {
    return reply->type == REDIS_REPLY_STATUS || reply->type == REDIS_REPLY_STRING ||
           (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
            tc_str_is(tc_reply_str(reply->element[0]), "pong"));
}

static void on_pong(struct tc_pubsub *ps, const redisReply *reply) {
    const redisReply *text = reply->type == REDIS_REPLY_ARRAY ? reply->element[1] : reply;
    if (!ps->sent || ps->ready || !tc_str_is(tc_reply_str(text), MARKER))
        return;
    ps->ready = true;
    ps->on_change(ps->arg, 0);
}

/* [kind, channel, payload or count] */
static int on_triple(struct tc_pubsub *ps, const redisReply *reply) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return TC_EPROTO;
    struct tc_str kind = tc_reply_str(reply->element[0]);
    struct tc_str name = tc_reply_str(reply->element[1]);
    struct tc_channel *ch = find(ps, name.p ? name.p : "", name.n);
    if (tc_str_is(kind, "message")) {
        if (ch)
            on_message(ps, ch, tc_reply_str(reply->element[2]));
        return 0;
    }
    bool subscribed = tc_str_is(kind, "subscribe");
    if ((!subscribed && !tc_str_is(kind, "unsubscribe")) || !ch || ch->owed == 0)
        return TC_EPROTO;
    if (subscribed)
        on_subscribed(ch); /* the answer is owed until this returns: nobody frees the channel meanwhile */
    if (ps->conn.state != TC_CONN_UP)
        return 0; /* closed by a callback, the channel with it */
    ch->owed--;
    destroy_if_unused(ps, ch);
    return 0;
}

static void on_reply(void *arg, const redisReply *reply) {
    struct tc_pubsub *ps = arg;
    if (is_pong(reply)) {
        on_pong(ps, reply);
    } else if (tc_reply_is_error(reply, NULL)) {
        /* Which SUBSCRIBE it answers cannot be told; only an access list refuses one, and that takes an operator. */
        ps->conn.refused = true;
        tc_conn_lose(&ps->conn, TC_EREDIS, reply->str);
    } else if (on_triple(ps, reply)) {
        tc_conn_lose(&ps->conn, TC_EPROTO, "not an answer to a subscription");
    }
}

/* ---- up and down ---- */

static void on_up(void *arg) {
    start_subscribing(arg);
}

/* Nobody is subscribed any more; whoever stays waits for the first SUBSCRIBE of the next connection. */
static void reset(struct tc_pubsub *ps) {
    struct tc_channel *ch, *following;
    HASH_ITER(hh, ps->channels, ch, following) {
        ch->sent = ch->confirmed = ch->owed = 0;
        for (struct tc_redis_sub *sub = ch->subs; sub; sub = sub->next)
            sub->ticket = 1;
        destroy_if_unused(ps, ch);
    }
}

static void on_down(void *arg, int err) {
    struct tc_pubsub *ps = arg;
    bool was_ready = ps->ready;
    ps->sent = false;
    ps->ready = false;
    reset(ps);
    if (was_ready)
        ps->on_change(ps->arg, err);
}

void tc_pubsub_start(struct tc_pubsub *ps, uv_loop_t *loop, struct tc_link *link, void (*on_change)(void *arg, int err),
                     void *arg) {
    const struct tc_conn_events ev = {on_up, on_down, on_reply, ps};
    ps->link = link;
    ps->channels = NULL;
    ps->allowed = ps->sent = ps->ready = false;
    ps->on_change = on_change;
    ps->arg = arg;
    tc_conn_start(&ps->conn, loop, link, &link->url.at, "pubsub", &ev);
}

static void on_conn_closed(void *arg) {
    struct tc_pubsub *ps = arg;
    struct tc_channel *ch, *following;
    HASH_ITER(hh, ps->channels, ch, following) {
        destroy(ps, ch);
    }
    ps->close_cb(ps->arg);
}

void tc_pubsub_close(struct tc_pubsub *ps, void (*cb)(void *arg)) {
    ps->close_cb = cb;
    for (struct tc_channel *ch = ps->channels; ch; ch = ch->hh.next) {
        while (ch->subs)
            detach(ch, ch->subs);
    }
    tc_conn_close(&ps->conn, on_conn_closed);
}

/* ---- subscribers ---- */

int tc_pubsub_add(struct tc_pubsub *ps, struct tc_redis_sub *sub, const char *channel) {
    assert(!sub->channel);
    size_t len = strlen(channel);
    struct tc_channel *ch = find(ps, channel, len);
    bool is_new = !ch;
    if (is_new)
        ch = create(ps, channel, len);
    if (!ch)
        return TC_ENOMEM;
    if (ps->sent) {
        int rc = subscribe_one(ps, ch);
        if (rc) {
            if (is_new)
                destroy(ps, ch);
            return rc;
        }
    }
    sub->ticket = ps->sent ? ch->sent : 1;
    sub->channel = ch;
    DL_APPEND(ch->subs, sub);
    return 0;
}

void tc_pubsub_remove(struct tc_pubsub *ps, struct tc_redis_sub *sub) {
    struct tc_channel *ch = sub->channel;
    if (!ch)
        return;
    detach(ch, sub);
    if (ch->subs)
        return;
    if (!ps->sent)
        destroy_if_unused(ps, ch);
    else
        (void)!send_one(ps, "UNSUBSCRIBE", ch); /* in vain without memory: the next message tries again */
}
