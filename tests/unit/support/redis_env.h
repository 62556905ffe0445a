/* A link to a scripted server with a probe on it, and the scripts that several tests need. */
#ifndef TESTS_SUPPORT_REDIS_ENV_H
#define TESTS_SUPPORT_REDIS_ENV_H

#include "redis/redis.h"

#include "redis_fake.h"
#include "redis_fixture.h"

struct redis_env {
    uv_loop_t loop;
    struct redis_fake fake;
    struct tc_redis_options opts;
    struct tc_redis *r;
    struct redis_probe probe;
    struct redis_replies replies;
    struct redis_call calls[64];
    int used;        /* calls */
    char heard[512]; /* names of the commands that the server got */
};

struct redis_env *redis_env_new(void); /* back-off 1 to 20 ms; the fake is not started */
void redis_env_create(struct redis_env *e, const char *url);
void redis_env_up(struct redis_env *e); /* starts the fake where needed, creates, waits */
void redis_env_end(struct redis_env *e);

int redis_env_ask(struct redis_env *e, const char *word); /* ECHO word; counted in replies */
void redis_env_await_replies(struct redis_env *e, int n);
void redis_env_await(struct redis_env *e, bool (*cond)(void *));
bool redis_env_was_down(void *arg); /* conditions */
bool redis_env_is_up_again(void *arg);

/* Scripts: all greet; ECHO is answered byte by byte, never, with half a reply and a reset (on the first connection),
 * or with FIN (on the first connection). */
void redis_env_say_echo(struct redis_fake_peer *p, const redisReply *command);
void redis_env_ignore_echo(struct redis_fake_peer *p, const redisReply *command);
void redis_env_reset_in_half_a_reply(struct redis_fake_peer *p, const redisReply *command);
void redis_env_end_after_first(struct redis_fake_peer *p, const redisReply *command);

#endif
