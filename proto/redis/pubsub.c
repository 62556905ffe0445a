/* Subscriptions (see pubsub.h). Loop thread; owned by a struct tc_redis, the links by its nodes.
 *
 * Re-entrancy: a callback may remove any subscriber, its own included, add some, or close everything. A walk over a
 * channel's subscribers therefore keeps its place in the channel, where a removal moves it on; and a channel is freed
 * only when Redis has answered its UNSUBSCRIBE or the connection is gone, neither of which happens under a callback. */
#include "redis/pubsub.h"

#include "base/buf.h"
#include "base/log.h"
#include "redis/channel.h"
#include "redis/reply.h"
#include "redis/slot.h"
#include "tokencast/error.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define BATCH_BYTES 65536        /* of one SUBSCRIBE with many channels */
#define MARKER      "subscribed" /* see subscribe_all */

/* ---- talking to Redis ---- */

static void put_arg(struct tc_buf *b, const char *p, size_t n) {
    tc_buf_putc(b, '$');
    tc_buf_put_u64(b, n);
    tc_buf_puts(b, "\r\n");
    tc_buf_append(b, p, n);
    tc_buf_puts(b, "\r\n");
}

static int send_one(struct tc_pubsub_link *l, const char *verb, struct tc_channel *ch) {
    const char *argv[] = {verb, ch->name};
    const size_t len[] = {strlen(verb), ch->len};
    int rc = tc_conn_send(&l->conn, NULL, NULL, 2, argv, len);
    if (rc == 0)
        ch->owed++;
    return rc;
}

static int subscribe_one(struct tc_pubsub_link *l, struct tc_channel *ch) {
    int rc = send_one(l, l->ps->sharded ? "SSUBSCRIBE" : "SUBSCRIBE", ch);
    if (rc == 0)
        ch->sent++;
    return rc;
}

/* Without memory in vain: the next message tries again. */
static void unsubscribe_one(struct tc_pubsub_link *l, struct tc_channel *ch) {
    if (send_one(l, l->ps->sharded ? "SUNSUBSCRIBE" : "UNSUBSCRIBE", ch) == 0)
        ch->leaving++;
}

static int send_batch(struct tc_pubsub_link *l, struct tc_buf *names, size_t count) {
    struct tc_buf head;
    tc_buf_init(&head, 0);
    tc_buf_putc(&head, '*');
    tc_buf_put_u64(&head, count + 1);
    tc_buf_puts(&head, "\r\n");
    put_arg(&head, "SUBSCRIBE", 9);
    tc_buf_put_str(&head, tc_buf_str(names));
    int rc = TC_ENOMEM;
    if (tc_buf_ok(names) && tc_buf_ok(&head))
        rc = tc_conn_send_bytes(&l->conn, NULL, NULL, head.data, head.len);
    tc_buf_fini(&head);
    tc_buf_reset(names);
    return rc;
}

static int subscribe_batches(struct tc_pubsub_link *l) {
    struct tc_buf names;
    tc_buf_init(&names, 0);
    size_t count = 0;
    int rc = 0;
    for (struct tc_channel *ch = l->channels; ch && !rc; ch = ch->home_next) {
        ch->sent++;
        ch->owed++;
        put_arg(&names, ch->name, ch->len);
        count++;
        if (names.len >= BATCH_BYTES || !ch->home_next) {
            rc = send_batch(l, &names, count);
            count = 0;
        }
    }
    tc_buf_fini(&names);
    return rc;
}

/* A Cluster takes only channels of one slot together. */
static int subscribe_each(struct tc_pubsub_link *l) {
    int rc = 0;
    for (struct tc_channel *ch = l->channels; ch && !rc; ch = ch->home_next)
        rc = subscribe_one(l, ch);
    return rc;
}

/* Subscribes everything anew, then the marker, whose answer comes after all the others and so says that this is
 * done. It carries a text, which tells it from the PINGs of a quiet connection. */
static int subscribe_all(struct tc_pubsub_link *l) {
    static const char marker[] = "*2\r\n$4\r\nPING\r\n$10\r\n" MARKER "\r\n";
    int rc = l->ps->sharded ? subscribe_each(l) : subscribe_batches(l);
    if (!rc)
        rc = tc_conn_send_bytes(&l->conn, NULL, NULL, marker, sizeof(marker) - 1);
    return rc;
}

void tc_pubsub_retry(struct tc_pubsub_link *l) {
    if (!l->allowed || l->sent || !tc_conn_is_up(&l->conn))
        return;
    l->sent = true;
    int rc = subscribe_all(l);
    if (rc)
        tc_conn_lose(&l->conn, rc, "the subscriptions cannot be sent");
}

void tc_pubsub_allow(struct tc_pubsub_link *l) {
    l->allowed = true;
    tc_pubsub_retry(l);
}

void tc_pubsub_disallow(struct tc_pubsub_link *l) {
    l->allowed = false;
}

/* ---- hearing from Redis ---- */

static struct tc_channel *find(const struct tc_pubsub *ps, struct tc_str name) {
    name.p = name.p ? name.p : "";
    return tc_channel_find(ps, name, tc_channel_hash(name));
}

static void deliver(struct tc_pubsub_link *l, struct tc_channel *ch, struct tc_str payload) {
    if (!ch || ch->home != l)
        return;
    l->ps->stats->messages++;
    if (!ch->subs && ch->owed == 0) {
        unsubscribe_one(l, ch); /* the first one found no room */
        return;
    }
    for (struct tc_redis_sub *sub = ch->subs; sub; sub = ch->next) {
        ch->next = sub->next;
        if (sub->ticket == 0)
            sub->on_message(sub->arg, payload);
    }
}

static void on_messages(void *arg, const struct tc_push *messages, size_t n) {
    struct tc_pubsub_link *l = arg;
    unsigned hashes[TC_READER_TOGETHER];
    for (size_t i = 0; i < n; i++)
        hashes[i] = tc_channel_hash(messages[i].channel);
    if (n > 1)
        tc_channels_warm(l->ps, hashes, n);
    for (size_t i = 0; i < n && l->conn.state == TC_CONN_UP; i++)
        deliver(l, tc_channel_find(l->ps, messages[i].channel, hashes[i]), messages[i].payload);
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

static void on_pong(struct tc_pubsub_link *l, const redisReply *reply) {
    const redisReply *text = reply->type == REDIS_REPLY_ARRAY ? reply->element[1] : reply;
    if (!l->sent || l->ready || !tc_str_is(tc_reply_str(text), MARKER))
        return;
    l->ready = true;
    l->on_change(l->arg, 0);
}

static void lose_home(struct tc_pubsub *ps, struct tc_channel *ch) {
    tc_channel_settle(ps, ch, NULL);
    if (!ch->subs)
        tc_channel_destroy(ps, ch);
}

/* The answer to an (UN)SUBSCRIBE. */
static void on_answer(struct tc_pubsub_link *l, struct tc_channel *ch, bool subscribed) {
    if (subscribed)
        on_subscribed(ch); /* the answer is owed until this returns: nobody frees the channel meanwhile */
    if (l->conn.state != TC_CONN_UP)
        return; /* closed by a callback */
    if (!subscribed && ch->leaving > 0)
        ch->leaving--;
    ch->owed--;
    tc_channel_destroy_if_unused(l->ps, ch);
}

/* What nobody waits for. In a Cluster it happens: the server ends a subscription when the slot leaves it, and the last
 * answers of a former home come after the channel has gone. */
static int on_unexpected(struct tc_pubsub_link *l, struct tc_channel *ch, bool subscribed) {
    if (!l->ps->sharded)
        return TC_EPROTO;
    if (!subscribed && ch && ch->home == l) {
        lose_home(l->ps, ch);
        l->ps->on_homeless(l->ps->arg);
    }
    return 0;
}

/* [kind, channel, payload or count] */
static int on_triple(struct tc_pubsub_link *l, const redisReply *reply) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return TC_EPROTO;
    struct tc_str kind = tc_reply_str(reply->element[0]);
    struct tc_str name = tc_reply_str(reply->element[1]);
    if (l->ps->sharded && kind.n > 1 && kind.p[0] == 's' && !tc_str_is(kind, "subscribe"))
        kind = (struct tc_str){kind.p + 1, kind.n - 1};
    if (tc_str_is(kind, "message")) {
        deliver(l, find(l->ps, name), tc_reply_str(reply->element[2]));
        return 0;
    }
    bool subscribed = tc_str_is(kind, "subscribe");
    if (!subscribed && !tc_str_is(kind, "unsubscribe"))
        return TC_EPROTO;
    struct tc_channel *ch = find(l->ps, name);
    bool expected = ch && ch->home == l && ch->owed > 0 && (subscribed || ch->leaving > 0);
    if (!expected)
        return on_unexpected(l, ch, subscribed);
    on_answer(l, ch, subscribed);
    return 0;
}

/* Nobody is subscribed any more. */
static void reset(struct tc_pubsub_link *l) {
    for (struct tc_channel *ch = l->channels, *following; ch; ch = following) {
        following = ch->home_next;
        tc_channel_forget(ch);
        tc_channel_destroy_if_unused(l->ps, ch);
    }
}

static void unready(struct tc_pubsub_link *l, int err) {
    bool was_ready = l->ready;
    l->sent = false;
    l->ready = false;
    reset(l);
    if (was_ready)
        l->on_change(l->arg, err);
}

/* All answers for this slot will be the same from now on, so the channels need not be told apart. */
static void on_moved(struct tc_pubsub_link *l, unsigned slot) {
    for (struct tc_channel *ch = l->channels, *following; ch; ch = following) {
        following = ch->home_next;
        if (tc_slot_of((struct tc_str){ch->name, ch->len}) == slot)
            lose_home(l->ps, ch);
    }
    l->ps->on_homeless(l->ps->arg);
}

static void on_error(struct tc_pubsub_link *l, const redisReply *reply) {
    struct tc_redirect to;
    if (l->ps->sharded && tc_redirect_read(&to, reply, l->conn.at)) {
        on_moved(l, to.slot);
    } else if (l->ps->sharded && tc_reply_is_error(reply, "CLUSTERDOWN")) {
        unready(l, TC_EREDIS); /* passes; the owner retries */
    } else {
        /* Which SUBSCRIBE it answers cannot be told; only an access list refuses one, and that takes an operator. */
        l->conn.refused = true;
        tc_conn_lose(&l->conn, TC_EREDIS, reply->str);
    }
}

static void on_reply(void *arg, const redisReply *reply) {
    struct tc_pubsub_link *l = arg;
    if (is_pong(reply))
        on_pong(l, reply);
    else if (tc_reply_is_error(reply, NULL))
        on_error(l, reply);
    else if (on_triple(l, reply))
        tc_conn_lose(&l->conn, TC_EPROTO, "not an answer to a subscription");
}

/* ---- up and down ---- */

static void on_up(void *arg) {
    tc_pubsub_retry(arg);
}

static void on_down(void *arg, int err) {
    unready(arg, err);
}

void tc_pubsub_link_start(struct tc_pubsub_link *l, struct tc_pubsub *ps, uv_loop_t *loop, struct tc_link *link,
                          const struct tc_endpoint *at, enum tc_conn_peer peer, void (*on_change)(void *arg, int err),
                          void *arg) {
    const struct tc_conn_events ev = {
        .peer = peer, .on_up = on_up, .on_down = on_down, .on_reply = on_reply, .on_messages = on_messages, .arg = l};
    l->ps = ps;
    l->channels = NULL;
    l->allowed = l->sent = l->ready = false;
    l->on_change = on_change;
    l->arg = arg;
    tc_conn_start(&l->conn, loop, link, at, "pubsub", &ev);
}

static void on_conn_closed(void *arg) {
    struct tc_pubsub_link *l = arg;
    while (l->channels)
        lose_home(l->ps, l->channels);
    l->close_cb(l->arg);
}

void tc_pubsub_link_close(struct tc_pubsub_link *l, void (*cb)(void *arg)) {
    l->close_cb = cb;
    tc_conn_close(&l->conn, on_conn_closed);
}

void tc_pubsub_detach(struct tc_pubsub *ps) {
    for (struct tc_channel *ch = ps->channels; ch; ch = ch->hh.next) {
        while (ch->subs)
            tc_channel_detach(ch, ch->subs);
    }
}

void tc_pubsub_fini(struct tc_pubsub *ps) {
    struct tc_channel *ch, *following;
    HASH_ITER(hh, ps->channels, ch, following) {
        tc_channel_destroy(ps, ch);
    }
}

static void move(struct tc_pubsub *ps, struct tc_channel *ch, struct tc_pubsub_link *home) {
    tc_channel_settle(ps, ch, home);
    if (!ch->subs) {
        tc_channel_destroy(ps, ch);
        return;
    }
    int rc = home && home->sent ? subscribe_one(home, ch) : 0;
    if (rc)
        tc_conn_lose(&home->conn, rc, "a subscription cannot be sent");
}

void tc_pubsub_rehome(struct tc_pubsub *ps) {
    struct tc_channel *ch, *following;
    HASH_ITER(hh, ps->channels, ch, following) {
        struct tc_pubsub_link *home = ps->home(ps->arg, (struct tc_str){ch->name, ch->len});
        if (home != ch->home)
            move(ps, ch, home);
    }
}

/* ---- subscribers ---- */

int tc_pubsub_add(struct tc_pubsub *ps, struct tc_redis_sub *sub, const char *channel) {
    assert(!sub->channel);
    struct tc_str name = tc_str_from(channel);
    struct tc_channel *ch = find(ps, name);
    bool is_new = !ch;
    if (is_new)
        ch = tc_channel_create(ps, name);
    if (!ch)
        return TC_ENOMEM;
    bool sent = ch->home && ch->home->sent;
    if (sent) {
        int rc = subscribe_one(ch->home, ch);
        if (rc) {
            if (is_new)
                tc_channel_destroy(ps, ch);
            return rc;
        }
    }
    sub->ticket = sent ? ch->sent : 1;
    sub->channel = ch;
    DL_APPEND(ch->subs, sub);
    return 0;
}

void tc_pubsub_remove(struct tc_pubsub *ps, struct tc_redis_sub *sub) {
    struct tc_channel *ch = sub->channel;
    if (!ch)
        return;
    tc_channel_detach(ch, sub);
    if (ch->subs)
        return;
    if (!ch->home || !ch->home->sent)
        tc_channel_destroy_if_unused(ps, ch);
    else
        unsubscribe_one(ch->home, ch);
}
