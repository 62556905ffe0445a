/* A private redis-server on a unix socket with a loop, a link and a publisher over it, and a second, blocking
 * connection for the test's own look at Redis. One at a time. */
#ifndef TESTS_PUBLISH_RIG_H
#define TESTS_PUBLISH_RIG_H

#include "redis/redis.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct publish_rig {
    uv_loop_t loop;
    char dir[64], socket[96], url[112];
    pid_t pid;
    redisContext *peek;     /* blocking */
    struct tc_redis *redis; /* on the loop, with pubsub; command time-out 500 ms */
};

void publish_rig_init(struct publish_rig *r); /* server and link, up */
void publish_rig_fini(struct publish_rig *r); /* closes the link, runs the loop empty, ends the server */

void publish_rig_server_start(struct publish_rig *r);
void publish_rig_server_kill(struct publish_rig *r);

/* Runs the loop until *flag (or the condition) holds; fails the test after 20 seconds. */
void publish_rig_until(struct publish_rig *r, const bool *flag);
void publish_rig_until_true(struct publish_rig *r, bool (*condition)(void *arg), void *arg);
void publish_rig_run(struct publish_rig *r, unsigned ms); /* for so long */

/* A command (hiredis's format) on the blocking connection; the caller frees the reply. Fails the test when it is an
 * error. */
redisReply *publish_rig_command(struct publish_rig *r, const char *format, ...);
/* The same without use for the reply. */
void publish_rig_do(struct publish_rig *r, const char *format, ...);
long long publish_rig_int(struct publish_rig *r, const char *format, ...);
/* A string reply in a static buffer; "" for nil. */
const char *publish_rig_str(struct publish_rig *r, const char *format, ...);

/* Makes the log of a generation as a broker does: the created event, `created_ago_ms` old, and meta. */
void publish_rig_create(struct publish_rig *r, const char *gen, long long created_ago_ms);

/* Another worker's fence under `attempt`. */
void publish_rig_fence(struct publish_rig *r, const char *gen, unsigned long long attempt);

/* The whole log as one line an entry: "seq type detail"; fences as "- fence". Static buffer. */
const char *publish_rig_log(struct publish_rig *r, const char *gen);
/* Text of kind text, index 0, from the folded log; checks contiguous seqs on the way. Static buffer. */
const char *publish_rig_text(struct publish_rig *r, const char *gen);

#endif
