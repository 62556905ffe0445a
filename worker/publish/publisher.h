/* What the writers of one loop share: the Redis link, the options, the key prefix, one scratch buffer. Internal. */
#ifndef WORKER_PUBLISH_PUBLISHER_H
#define WORKER_PUBLISH_PUBLISHER_H

#include "redis/redis.h"
#include "tokencast/publish.h"
#include "wire/keys.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct tc_publisher {
    uv_loop_t *loop;        /* borrowed */
    struct tc_redis *redis; /* borrowed */
    struct tc_redis_watch watch;
    struct tc_publisher_options opts; /* defaults filled in; prefix and owner point below */
    char prefix[TC_PREFIX_MAX + 1];
    char owner[128];
    struct tc_publisher_stats stats;
    struct tc_writer *writers; /* uthash by id; each belongs to its opener */
    struct tc_buf scratch;     /* one entry or announcement; never kept over a call */
};

/* TC_EEXISTS: this publisher already has a writer for that generation. TC_ENOMEM. */
TC_MUST_USE int publisher_add(struct tc_publisher *p, struct tc_writer *w);
void publisher_remove(struct tc_publisher *p, struct tc_writer *w); /* idempotent */

#endif
