/* What the tests of the Redis link share: a loop that is run with a bound, a real private redis-server, a counter of
 * replies. Every failure here fails the test. */
#ifndef TESTS_SUPPORT_REDIS_FIXTURE_H
#define TESTS_SUPPORT_REDIS_FIXTURE_H

#include "redis/redis.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uv.h>

/* Runs the loop until *flag, or cond(arg), holds; a hang fails the test after a minute. */
void redis_run_until(uv_loop_t *loop, const bool *flag);
void redis_run_until_cond(uv_loop_t *loop, bool (*cond)(void *arg), void *arg);
/* For `ms` of this process's own: a turn counts 2 ms at most, so that a busy machine leaves the loop as many turns as a
 * quiet one. */
void redis_run_for(uv_loop_t *loop, int ms);
/* Runs the loop until nothing is left in it (a hang fails), and closes it. */
void redis_loop_end(uv_loop_t *loop);

int redis_free_port(void);

/* A redis-server in a directory of its own, on dir/sock, and on `port` if it is not 0. */
struct redis_server {
    char dir[64];
    char sock[96];
    char url[128]; /* unix://… */
    int port, tls_port;
    const char *extra[16]; /* further arguments, NULL-terminated */
    pid_t pid;             /* 0 while it is not running */
};
void redis_server_init(struct redis_server *s); /* the directory */
void redis_server_start(struct redis_server *s);
void redis_server_kill(struct redis_server *s); /* SIGKILL, waited for */
void redis_server_fini(struct redis_server *s); /* kill, and the directory */
/* One command on a blocking connection of its own (as the default user); returns the reply's integer or 0. */
long long redis_server_do(struct redis_server *s, const char *command);

/* Counts what a link reports. */
struct redis_probe {
    int ups, downs, last_err;
    bool closed;
    struct tc_redis_watch watch;
};
void redis_probe_attach(struct redis_probe *p, struct tc_redis *r);
void redis_probe_on_closed(void *arg); /* for tc_redis_close */
void redis_probe_await_up(uv_loop_t *loop, struct tc_redis *r);
void redis_probe_close(uv_loop_t *loop, struct tc_redis *r); /* and waits for it */

/* Counts what comes of commands; `order` holds the tags in order of their callbacks. */
struct redis_replies {
    int ok, failed, last_err, n;
    int order[64];
};
struct redis_call { /* one command's cb argument */
    struct redis_replies *to;
    int tag;
};
void redis_on_reply(void *arg, int err, const redisReply *reply); /* arg: struct redis_call */

#endif
