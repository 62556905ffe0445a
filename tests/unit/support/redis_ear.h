/* A subscriber that counts what it hears, and does something on it if the test wants. */
#ifndef TESTS_SUPPORT_REDIS_EAR_H
#define TESTS_SUPPORT_REDIS_EAR_H

#include "redis/redis.h"

struct redis_ear {
    struct tc_redis_sub sub;
    int ready, messages;
    char last[64];
    void (*then)(struct redis_ear *ear); /* after each message */
    void (*on_ready)(struct redis_ear *ear);
    struct redis_ear *other;
};

void redis_ear_listen(struct tc_redis *r, struct redis_ear *ear, const char *channel);
void redis_ear_await(uv_loop_t *loop, const int *n, int at_least); /* runs the loop until *n >= at_least */

#endif
