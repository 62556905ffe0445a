/* Slots (see slot.h). What a node says is checked as any foreign input: bounds, then meaning. */
#include "redis/slot.h"

#include "redis/reply.h"
#include "tokencast/error.h"

#include <stdbool.h>
#include <string.h>

uint16_t tc_crc16(struct tc_str s) {
    unsigned crc = 0;
    for (size_t i = 0; i < s.n; i++) {
        crc ^= (unsigned)(unsigned char)s.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000) != 0 ? (crc << 1 ^ 0x1021) & 0xffff : crc << 1 & 0xffff;
    }
    return (uint16_t)crc;
}

unsigned tc_slot_of(struct tc_str key) {
    const char *open = key.n > 0 ? memchr(key.p, '{', key.n) : NULL;
    if (open) {
        size_t rest = key.n - (size_t)(open + 1 - key.p);
        const char *shut = rest > 0 ? memchr(open + 1, '}', rest) : NULL;
        if (shut && shut > open + 1)
            key = (struct tc_str){open + 1, (size_t)(shut - open - 1)};
    }
    return tc_crc16(key) % TC_SLOTS;
}

static bool set_host(struct tc_endpoint *at, struct tc_str host, const struct tc_endpoint *asked) {
    if (host.n == 0 || tc_str_is(host, "?"))
        host = tc_str_from(asked->host);
    if (host.n == 0 || host.n >= sizeof(at->host) || memchr(host.p, '\0', host.n))
        return false;
    memset(at, 0, sizeof(*at));
    memcpy(at->host, host.p, host.n);
    return true;
}

/* [host, port, …] */
static bool read_node(struct tc_endpoint *at, const redisReply *node, const struct tc_endpoint *asked) {
    int64_t port;
    if (node->type != REDIS_REPLY_ARRAY || node->elements < 2 || !set_host(at, tc_reply_str(node->element[0]), asked) ||
        !tc_reply_int(node->element[1], &port) || port < 1 || port > 65535)
        return false;
    at->port = (int)port;
    return true;
}

static uint8_t find_or_add(struct tc_slot_map *map, const struct tc_endpoint *at) {
    size_t i = 0;
    while (i < map->count && !tc_endpoint_eq(&map->nodes[i], at))
        i++;
    if (i == TC_NODES_MAX)
        return TC_NO_NODE;
    if (i == map->count)
        map->nodes[map->count++] = *at;
    return (uint8_t)i;
}

/* [first, last, master, replica …] */
static void read_range(struct tc_slot_map *map, const redisReply *range, const struct tc_endpoint *asked) {
    int64_t first, last;
    struct tc_endpoint at;
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3 || !tc_reply_int(range->element[0], &first) ||
        !tc_reply_int(range->element[1], &last) || first < 0 || last < first || last >= TC_SLOTS ||
        !read_node(&at, range->element[2], asked))
        return;
    memset(map->owner + first, find_or_add(map, &at), (size_t)(last - first + 1));
}

int tc_slot_map_read(struct tc_slot_map *map, const redisReply *reply, const struct tc_endpoint *asked) {
    map->count = 0;
    memset(map->owner, TC_NO_NODE, sizeof(map->owner));
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements > TC_SLOTS)
        return TC_EPROTO;
    for (size_t i = 0; i < reply->elements; i++)
        read_range(map, reply->element[i], asked);
    return 0;
}

/* Digits up to max. */
static bool read_number(struct tc_str s, unsigned max, unsigned *out) {
    unsigned v = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || v > max)
            return false;
        v = v * 10 + (unsigned)(s.p[i] - '0');
    }
    *out = v;
    return s.n > 0 && v <= max;
}

/* "MOVED 3999 127.0.0.1:6381"; an IPv6 host is not bracketed, so the port is what follows the last colon. */
bool tc_redirect_read(struct tc_redirect *out, const redisReply *reply, const struct tc_endpoint *asked) {
    struct tc_str s = tc_reply_str(reply);
    bool moved = tc_reply_is_error(reply, "MOVED");
    out->ask = tc_reply_is_error(reply, "ASK");
    if (!moved && !out->ask)
        return false;
    size_t start = moved ? 6 : 4, space = start, colon = s.n;
    while (space < s.n && s.p[space] != ' ')
        space++;
    while (colon > space && s.p[colon - 1] != ':')
        colon--;
    unsigned port;
    if (space == s.n || colon <= space + 1 ||
        !read_number((struct tc_str){s.p + start, space - start}, TC_SLOTS - 1, &out->slot) ||
        !read_number((struct tc_str){s.p + colon, s.n - colon}, 65535, &port) || port == 0 ||
        !set_host(&out->at, (struct tc_str){s.p + space + 1, colon - 1 - (space + 1)}, asked))
        return false;
    out->at.port = (int)port;
    return true;
}
