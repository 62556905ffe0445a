/* What one published event costs the broker before its send, for hot_checks to count: N events from the bytes that
 * Redis sends to the frame that readers get, in the order and with the functions of pubsub.c, tail.c and feed.c. Usage:
 * hot N (a multiple of 16). */
#include "feed/track.h"
#include "redis/channel.h"
#include "redis/reader.h"

#include <stdio.h>
#include <stdlib.h>

struct broker {
    struct track *track;
    uint64_t seq;
    uint64_t sent;   /* bytes of frames */
    unsigned hashes; /* keeps the compiler from leaving them out */
};

static void die(const char *what) {
    fprintf(stderr, "hot: %s\n", what);
    exit(1);
}

static bool on_reply(void *arg, const redisReply *reply) {
    (void)arg;
    (void)reply;
    die("a message was taken for a reply");
    return false;
}

static void take(struct broker *b, struct tc_str payload) {
    const char *space = memchr(payload.p, ' ', payload.n);
    struct tc_event ev;
    struct tc_position pos;
    char id[TC_POSITION_MAX];
    if (space == NULL || tc_position_parse(payload.p, (size_t)(space - payload.p), &pos) != 0)
        die("no position");
    pos.seq += b->seq++;
    struct tc_str raw = {space + 1, payload.n - (size_t)(space + 1 - payload.p)};
    if (tc_event_decode(raw.p, raw.n, &ev) != 0)
        die("no event");
    struct dialect_event in = {.ev = &ev, .raw = raw, .id = {id, tc_position_format(pos, id)}};
    uint64_t before = b->track->head_off;
    if (track_event(b->track, pos, &in) != 0)
        die("no memory");
    b->sent += b->track->head_off - before;
}

static bool on_messages(void *arg, const struct tc_push *messages, size_t n) {
    struct broker *b = arg;
    for (size_t i = 0; i < n; i++)
        b->hashes ^= tc_channel_hash(messages[i].channel);
    for (size_t i = 0; i < n; i++)
        take(b, messages[i].payload);
    return true;
}

static void publish(struct tc_buf *out, uint64_t i) {
    struct tc_buf payload;
    struct tc_event ev = {
        .type = TC_EV_DELTA, .text = TC_STR(" token"), .offset = 1000 + 6 * i, .at = 1790000000123456 + (int64_t)i};
    tc_buf_init(&payload, 0);
    tc_buf_printf(&payload, "3-1%02u ", (unsigned)i);
    tc_event_encode(&payload, &ev);
    static const char channel[] = "tc:{gen_0123456789abcdefghijkl}:events";
    tc_buf_printf(out, "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%zu\r\n", sizeof(channel) - 1, channel, payload.len);
    tc_buf_append(out, payload.data, payload.len);
    tc_buf_append(out, "\r\n", 2);
    tc_buf_fini(&payload);
}

int main(int argc, char **argv) {
    unsigned long events = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    struct track_key key = {.dialect = &dialect_native, .include = INCLUDE_ALL, .pace = PACE_TOKEN, .chunked = true};
    struct broker b = {0};
    struct tc_reader reader;
    struct tc_buf bytes, scratch;
    tc_buf_init(&bytes, 0);
    tc_buf_init(&scratch, 0);
    for (uint64_t i = 0; i < TC_READER_TOGETHER; i++)
        publish(&bytes, i);
    if (!tc_buf_ok(&bytes) || tc_reader_init(&reader) != 0 || track_create(&b.track, &key, 512, 65536, &scratch) != 0)
        die("no memory");
    reader.on_messages = on_messages;
    for (unsigned long i = 0; i < events; i += TC_READER_TOGETHER)
        if (tc_reader_feed(&reader, bytes.data, bytes.len, on_reply, &b) != 0)
            die(tc_reader_reason(&reader));
    printf("%llu events, %llu bytes, %u\n", (unsigned long long)b.seq, (unsigned long long)b.sent, b.hashes);
    track_destroy(b.track);
    tc_reader_fini(&reader);
    tc_buf_fini(&bytes);
    tc_buf_fini(&scratch);
    return 0;
}
