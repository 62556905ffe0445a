/* A command to a Cluster, kept until it is answered, because the slot of its key may have moved: the answer then says
 * where to, and the command is sent there. Loop thread. */
#ifndef TC_REDIS_CALL_H
#define TC_REDIS_CALL_H

#include "base/attr.h"
#include "redis/redis.h"

struct tc_node;

/* Sends `bytes`, one command in RESP, to n, which is up; errors and cb as in redis.h. */
TC_MUST_USE int tc_call_send(struct tc_node *n, tc_redis_reply_cb cb, void *arg, const char *bytes, size_t len);

#endif
