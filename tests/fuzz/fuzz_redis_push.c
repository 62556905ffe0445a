/* What a connection hears, in pieces of any size: what is taken as it lies (published messages where it subscribes,
 * short replies where it does not) and the rest through hiredis are together exactly what hiredis alone makes of the
 * bytes. */
#include "redis/reader.h"
#include "redis/reply.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* FNV-1a of all that was heard: a message the same whichever way it came. */
struct heard {
    uint64_t hash;
    size_t count;
};

static void mix(struct heard *h, const void *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        h->hash = (h->hash ^ ((const unsigned char *)p)[i]) * 1099511628211u;
    h->hash = (h->hash ^ n) * 1099511628211u;
}

static void on_message(struct heard *h, struct tc_str channel, struct tc_str payload) {
    mix(h, channel.p, channel.n);
    mix(h, payload.p, payload.n);
    h->count++;
}

static bool on_messages(void *arg, const struct tc_push *m, size_t n) {
    if (n == 0 || n > TC_READER_TOGETHER)
        abort();
    for (size_t i = 0; i < n; i++)
        on_message(arg, m[i].channel, m[i].payload);
    return true;
}

static void mix_tree(struct heard *h, const redisReply *reply) {
    mix(h, &reply->type, sizeof(reply->type));
    mix(h, &reply->integer, sizeof(reply->integer));
    struct tc_str text = tc_reply_str(reply);
    if (text.n > 0)
        mix(h, text.p, text.n);
    for (size_t i = 0; reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++)
        mix_tree(h, reply->element[i]);
}

static bool is_message(const redisReply *reply) {
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 3)
        return false;
    for (size_t i = 0; i < 3; i++)
        if (reply->element[i]->type != REDIS_REPLY_STRING)
            return false;
    struct tc_str kind = tc_reply_str(reply->element[0]);
    return tc_str_is(kind, "message") || tc_str_is(kind, "smessage");
}

static bool on_reply(void *arg, const redisReply *reply) {
    struct heard *h = arg;
    if (is_message(reply)) {
        on_message(h, tc_reply_str(reply->element[1]), tc_reply_str(reply->element[2]));
        return true;
    }
    mix_tree(h, reply);
    h->count++;
    return true;
}

static int hear(const char *p, size_t n, size_t piece, bool as_they_lie, struct heard *h) {
    struct tc_reader r;
    int rc = tc_reader_init(&r);
    if (rc != 0)
        abort();
    r.on_messages = as_they_lie ? on_messages : NULL;
    for (size_t i = 0; i < n && rc == 0; i += piece)
        rc = tc_reader_feed(&r, p + i, n - i < piece ? n - i : piece, on_reply, h);
    tc_reader_fini(&r);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct heard alone = {0};
    if (size == 0)
        return 0;
    size_t piece = data[0] == 0 ? size : data[0];
    const char *p = (const char *)data + 1;
    int alone_rc = hear(p, size - 1, 1, false, &alone); /* byte by byte nothing lies there whole */
    for (int subscribed = 0; subscribed < 2; subscribed++) {
        struct heard quick = {0};
        int rc = hear(p, size - 1, piece, subscribed, &quick);
        if (rc != alone_rc || quick.count != alone.count || quick.hash != alone.hash)
            abort();
    }
    return 0;
}
