/* Redis's error texts and what they mean to a writer. */
#include "publish/refusal.h"

#include "redis/reply.h"

#include <stddef.h>

static const struct {
    const char *prefix;
    enum refusal means;
} table[] = {
    {"ERR The ID specified in XADD is equal or smaller", REFUSAL_STALE},
    {"OOM", REFUSAL_LATER},
    {"LOADING", REFUSAL_LATER},
    {"MISCONF", REFUSAL_LATER},
    {"BUSY", REFUSAL_LATER},
    {"TRYAGAIN", REFUSAL_LATER},
    {"CLUSTERDOWN", REFUSAL_LATER},
    {"MASTERDOWN", REFUSAL_LATER},
    {"NOREPLICAS", REFUSAL_LATER},
    {"READONLY", REFUSAL_MOVED},
    {"MOVED", REFUSAL_MOVED},
    {"ASK", REFUSAL_MOVED},
};

enum refusal refusal_of(const redisReply *reply) {
    if (!tc_reply_is_error(reply, NULL))
        return REFUSAL_NONE;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (tc_reply_is_error(reply, table[i].prefix))
            return table[i].means;
    return REFUSAL_FATAL;
}
