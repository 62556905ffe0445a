/* Which of a Cluster's 16,384 slots a key is in, and what a node says of where slots are. Pure functions. */
#ifndef TC_REDIS_SLOT_H
#define TC_REDIS_SLOT_H

#include "base/attr.h"
#include "base/str.h"
#include "redis/url.h"

#include <hiredis/hiredis.h>
#include <stdint.h>

#define TC_SLOTS     16384
#define TC_NODES_MAX 128 /* masters that are linked to; what more own counts as not covered */
#define TC_NO_NODE   0xff

uint16_t tc_crc16(struct tc_str s);     /* CRC-16/XMODEM, as Redis Cluster has it */
unsigned tc_slot_of(struct tc_str key); /* of what stands in the first {…}, if anything does */

/* Who owns what. Allocate it: it is large. */
struct tc_slot_map {
    struct tc_endpoint nodes[TC_NODES_MAX];
    size_t count;
    uint8_t owner[TC_SLOTS]; /* index into nodes; TC_NO_NODE */
};

/* From the reply to CLUSTER SLOTS of the server at `asked`, whose host stands for those that are not named. Ranges
 * that make no sense are left out. TC_EPROTO: not such a reply. */
TC_MUST_USE int tc_slot_map_read(struct tc_slot_map *map, const redisReply *reply, const struct tc_endpoint *asked);

/* A reply of another node that owns the slot. */
struct tc_redirect {
    bool ask; /* for this command alone; else MOVED */
    unsigned slot;
    struct tc_endpoint at;
};
/* false: the reply is no such error. */
bool tc_redirect_read(struct tc_redirect *out, const redisReply *reply, const struct tc_endpoint *asked);

#endif
