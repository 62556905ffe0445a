/* The table of channels. See channel.h. */
#include "redis/channel.h"

#include "base/prefetch.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

static uint64_t mix(uint64_t hash, const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
    return hash ^ hash >> 32;
}

/* Eight bytes a step, the last step over what is left and some before it: each message's channel is looked up. */
unsigned tc_channel_hash(struct tc_str name) {
    uint64_t hash = name.n;
    char few[8] = "";
    if (name.n < sizeof(few)) {
        memcpy(few, name.p, name.n);
        return (unsigned)mix(hash, few);
    }
    for (size_t i = 0; i + 8 < name.n; i += 8)
        hash = mix(hash, name.p + i);
    return (unsigned)mix(hash, name.p + name.n - 8);
}

struct tc_channel *tc_channel_find(const struct tc_pubsub *ps, struct tc_str name, unsigned hash) {
    struct tc_channel *ch = NULL;
    HASH_FIND_BYHASHVALUE(hh, ps->channels, name.p, name.n, hash, ch);
    return ch;
}

void tc_channel_forget(struct tc_channel *ch) {
    ch->sent = ch->confirmed = ch->leaving = ch->owed = 0;
    for (struct tc_redis_sub *sub = ch->subs; sub; sub = sub->next)
        sub->ticket = 1;
}

static void enter(struct tc_pubsub *ps, struct tc_channel *ch, struct tc_pubsub_link *home) {
    ch->home = home;
    if (home)
        DL_APPEND2(home->channels, ch, home_prev, home_next);
    else
        ps->homeless++;
}

static void leave(struct tc_pubsub *ps, struct tc_channel *ch) {
    if (ch->home)
        DL_DELETE2(ch->home->channels, ch, home_prev, home_next);
    else
        ps->homeless--;
    tc_channel_forget(ch);
}

void tc_channel_settle(struct tc_pubsub *ps, struct tc_channel *ch, struct tc_pubsub_link *home) {
    leave(ps, ch);
    enter(ps, ch, home);
}

struct tc_channel *tc_channel_create(struct tc_pubsub *ps, struct tc_str name) {
    struct tc_channel *ch = calloc(1, sizeof(*ch) + name.n + 1);
    if (!ch)
        return NULL;
    memcpy(ch->name, name.p, name.n);
    ch->len = name.n;
    unsigned hash = tc_channel_hash(name);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, ps->channels, ch->name, ch->len, hash, ch);
    if (ch->unhashed) {
        free(ch);
        return NULL;
    }
    enter(ps, ch, ps->home(ps->arg, (struct tc_str){ch->name, ch->len}));
    return ch;
}

void tc_channel_destroy(struct tc_pubsub *ps, struct tc_channel *ch) {
    leave(ps, ch);
    HASH_DELETE(hh, ps->channels, ch);
    free(ch);
}

void tc_channel_destroy_if_unused(struct tc_pubsub *ps, struct tc_channel *ch) {
    if (!ch->subs && ch->owed == 0)
        tc_channel_destroy(ps, ch);
}

void tc_channel_detach(struct tc_channel *ch, struct tc_redis_sub *sub) {
    if (ch->next == sub)
        ch->next = sub->next;
    DL_DELETE(ch->subs, sub);
    sub->channel = NULL;
    sub->prev = sub->next = NULL;
}

/* By its hash alone: a wrong one costs a look in vain. */
static const struct tc_channel *guess(const UT_hash_bucket *bucket, unsigned hash) {
    const UT_hash_handle *hh = bucket->hh_head;
    while (hh && hh->hashv != hash)
        hh = hh->hh_next;
    return hh ? (const struct tc_channel *)(const void *)((const char *)hh - offsetof(struct tc_channel, hh)) : NULL;
}

/* A look waits for the one before only where it must: all buckets, then all channels, then what their first subscribers
 * keep. */
void tc_channels_warm(const struct tc_pubsub *ps, const unsigned *hashes, size_t n) {
    const struct tc_redis_sub *subs[TC_READER_TOGETHER];
    if (!ps->channels)
        return;
    const UT_hash_table *table = ps->channels->hh.tbl;
    for (size_t i = 0; i < n; i++)
        tc_prefetch(&table->buckets[hashes[i] & (table->num_buckets - 1)], sizeof(*table->buckets));
    for (size_t i = 0; i < n; i++) {
        const struct tc_channel *ch = guess(&table->buckets[hashes[i] & (table->num_buckets - 1)], hashes[i]);
        subs[i] = ch ? ch->subs : NULL;
        if (!ch)
            continue;
        tc_prefetch(&ch->next, sizeof(*ch) - offsetof(struct tc_channel, next) + ch->hh.keylen);
        tc_prefetch(subs[i], sizeof(*subs[i]));
    }
    for (unsigned depth = 0; depth < TC_REDIS_DEPTHS; depth++)
        for (size_t i = 0; i < n; i++)
            if (subs[i] && subs[i]->ahead)
                subs[i]->ahead(subs[i]->arg, depth);
}
