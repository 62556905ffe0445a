/* A room's stream: lifetime and sweep. Happy path: subscribe -> confirmed -> the log is read (channel_log.c) -> the
 * generations in it are followed (channel_member.c) -> readers catch up (channel_catchup.c) and are live. See
 * channel.h. */
#include "feed/channel.h"

#include "feed/channel_state.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define CHANNELS_MAX 10000

static void maybe_free(struct channel *c) {
    if (c->closing && c->calls == 0 && c->refs == 0)
        free(c);
}

bool channel_call_done(struct channel *c) {
    c->calls--;
    if (!c->closing)
        return false;
    maybe_free(c);
    return true;
}

static void on_bell(void *arg, struct tc_str payload) {
    (void)payload;
    channel_read(arg);
}

static void on_subscribed(void *arg) {
    struct channel *c = arg;
    c->subscribed = true;
    if (c->loaded)
        channel_read(c);
    else
        channel_load(c);
}

/* A channel has one overflow policy, which ends the stream: a reader comes back with its position. */
static struct catchup *no_catchup(void *arg, const struct track *track, struct tc_position pos, bool lost) {
    (void)arg;
    (void)track;
    (void)pos;
    (void)lost;
    return NULL;
}

static void destroy(struct channel *c) {
    if (c->closing)
        return;
    c->closing = true;
    if (c->hh.tbl != NULL) {
        HASH_DEL(c->hub->channels, c);
        c->hub->stats.channels--;
    }
    tc_redis_unsubscribe(c->hub->redis, &c->bell);
    members_drop(c);
    fan_fini(&c->fan);
    channel_ref(c); /* whoever is woken may let go of the last one */
    channel_wake(c);
    c->refs--;
    maybe_free(c);
}

int channel_get(struct hub *h, const char *name, struct channel **out) {
    struct channel *c;
    HASH_FIND_STR(h->channels, name, c);
    if (c != NULL) {
        channel_ref(c);
        *out = c;
        return 0;
    }
    if (HASH_COUNT(h->channels) >= CHANNELS_MAX)
        return TC_EFULL;
    c = calloc(1, sizeof *c);
    if (c == NULL)
        return TC_ENOMEM;
    c->hub = h;
    memcpy(c->name, name, strlen(name) + 1);
    tc_key_channel(c->log_key, h->opts.prefix, name, false);
    tc_list_init(&c->members);
    tc_list_init(&c->waits);
    fan_init(&c->fan, h, &(struct fan_source){.catchup = no_catchup, .arg = c});
    char bell[TC_KEY_MAX];
    tc_key_channel(bell, h->opts.prefix, name, true);
    c->bell = (struct tc_redis_sub){.on_message = on_bell, .on_ready = on_subscribed, .arg = c};
    int err = tc_redis_subscribe(h->redis, &c->bell, bell);
    if (err != 0) {
        free(c);
        return err;
    }
    HASH_ADD_STR(h->channels, name, c);
    if (c->hh.tbl == NULL) {
        destroy(c);
        return TC_ENOMEM;
    }
    h->stats.channels++;
    c->refs = 1;
    *out = c;
    return 0;
}

void channel_ref(struct channel *c) {
    c->refs++;
}

void channel_unref(struct channel *c) {
    if (--c->refs > 0)
        return;
    if (c->closing)
        maybe_free(c);
    else
        c->idle_ms = hub_now_ms(c->hub);
}

struct fan *channel_fan(struct channel *c) {
    return &c->fan;
}

bool channel_settled(const struct channel *c) {
    return c->loaded && c->pending == 0;
}

void channel_wait_add(struct channel *c, struct feed_wait *w) {
    tc_list_add_tail(&c->waits, &w->node);
}

void channel_wake(struct channel *c) {
    struct tc_list now;
    tc_list_move(&c->waits, &now);
    while (!tc_list_empty(&now)) {
        struct feed_wait *w = TC_CONTAINER_OF(now.next, struct feed_wait, node);
        tc_list_remove(&w->node);
        w->cb(w->arg);
    }
}

static void sweep(struct channel *c, uint64_t now_ms) {
    fan_heartbeat(&c->fan, now_ms);
    fan_retire(&c->fan, now_ms);
    if (c->fan.sub_count == 0)
        fan_drop_empty_tracks(&c->fan);
    bool used = c->refs > 0 || c->fan.sub_count > 0;
    if (used) {
        c->idle_ms = now_ms;
    } else if (now_ms - c->idle_ms >= (uint64_t)c->hub->opts.linger_ms) {
        destroy(c);
        return;
    }
    members_sweep(c);
    if (!c->loaded) {
        if (c->subscribed)
            channel_load(c);
    } else if (used && !c->reading && now_ms - c->quiet_ms >= hub_quiet_ms(c->hub)) {
        channel_read(c);
    }
}

void channels_sweep(struct hub *h, uint64_t now_ms) {
    struct channel *c, *next;
    HASH_ITER(hh, h->channels, c, next) {
        sweep(c, now_ms);
    }
}

static void cut_sub(struct sub *s, void *arg) {
    (void)arg;
    sub_destroy(s, false);
}

void channels_destroy(struct hub *h) {
    struct channel *c, *next;
    HASH_ITER(hh, h->channels, c, next) {
        fan_each_sub(&c->fan, cut_sub, NULL);
        destroy(c);
    }
}

void channels_each_sub(struct hub *h, void (*cb)(struct sub *s, void *arg), void *arg) {
    struct channel *c, *next;
    HASH_ITER(hh, h->channels, c, next) {
        fan_each_sub(&c->fan, cb, arg);
    }
}
