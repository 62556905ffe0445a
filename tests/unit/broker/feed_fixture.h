/* Feeds of two brokers against one real redis-server; nobody sweeps but the tests. */
#ifndef TESTS_BROKER_FEED_FIXTURE_H
#define TESTS_BROKER_FEED_FIXTURE_H

#include "feed/feed.h"
#include "redis_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define FEED_LEASE_MS 2000

struct party { /* a broker */
    struct tc_redis *redis;
    struct hub hub;
    bool hub_closed, gone;
};

struct feeds {
    struct redis_server server;
    redisContext *hand; /* a worker's and an administrator's */
    uv_loop_t loop;
    struct party brokers[2];
};

int feeds_setup(void **state);
int feeds_teardown(void **state);
void feeds_end_broker(struct feeds *w, int which); /* as if killed: it takes nothing back */
/* The integer of a reply, or its string's or array's length. */
long long feeds_do(struct feeds *w, const char *format, ...);
/* Log (created, and started if asked), meta and a job that is queued; the feed at a broker is settled and watched. */
struct feed *feeds_open(struct feeds *w, int which, const char *id, bool started);
void feeds_wait(struct feeds *w, bool (*cond)(void *arg), void *arg);
/* Loop time passes without anybody doing anything. */
void feeds_pass(struct feeds *w, int ms);

#endif
