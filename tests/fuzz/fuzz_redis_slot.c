/* What a node says of where slots are, as bytes from the wire: the reply to CLUSTER SLOTS, and MOVED and ASK. Never out
 * of bounds; what is taken names nodes that exist, with addresses that can be connected to, and a slot that exists. */
#include "redis/reader.h"
#include "redis/slot.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct tc_endpoint asked = {.host = "127.0.0.1", .port = 7000};

static void check_address(const struct tc_endpoint *at) {
    char text[300];
    if (!memchr(at->host, 0, sizeof(at->host)) || !at->host[0] || at->path[0] || at->port < 1 || at->port > 65535)
        abort();
    tc_endpoint_format(at, text, sizeof(text));
}

static void check_map(const struct tc_slot_map *map) {
    if (map->count > TC_NODES_MAX)
        abort();
    for (size_t i = 0; i < map->count; i++) {
        check_address(&map->nodes[i]);
        for (size_t j = 0; j < i; j++)
            if (tc_endpoint_eq(&map->nodes[i], &map->nodes[j]))
                abort();
    }
    for (size_t slot = 0; slot < TC_SLOTS; slot++)
        if (map->owner[slot] != TC_NO_NODE && map->owner[slot] >= map->count)
            abort();
}

static bool on_reply(void *arg, const redisReply *reply) {
    struct tc_redirect to;
    memset(arg, 0xa5, sizeof(struct tc_slot_map)); /* reading depends on nothing that was there */
    if (tc_slot_map_read(arg, reply, &asked) == 0)
        check_map(arg);
    if (tc_redirect_read(&to, reply, &asked)) {
        check_address(&to.at);
        if (to.slot >= TC_SLOTS)
            abort();
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_reader reader;
    struct tc_slot_map *map = malloc(sizeof(*map));
    if (!map || tc_reader_init(&reader) != 0)
        abort();
    if (tc_reader_feed(&reader, (const char *)data, size, on_reply, map) != 0)
        (void)tc_reader_reason(&reader);
    tc_reader_fini(&reader);
    if (tc_slot_of((struct tc_str){(const char *)data, size}) >= TC_SLOTS)
        abort();
    free(map);
    return 0;
}
