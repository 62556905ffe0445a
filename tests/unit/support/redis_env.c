/* See redis_env.h. */
#include "redis_env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct redis_env *redis_env_new(void) {
    struct redis_env *e = calloc(1, sizeof(*e));
    assert_non_null(e);
    assert_int_equal(uv_loop_init(&e->loop), 0);
    e->fake.arg = e;
    e->opts.backoff_min_ms = 1;
    e->opts.backoff_max_ms = 20;
    for (int i = 0; i < 64; i++)
        e->calls[i] = (struct redis_call){&e->replies, i};
    return e;
}

void redis_env_create(struct redis_env *e, const char *url) {
    e->opts.url = url;
    assert_int_equal(tc_redis_create(&e->r, &e->loop, &e->opts), 0);
    redis_probe_attach(&e->probe, e->r);
}

void redis_env_up(struct redis_env *e) {
    if (!e->fake.port)
        redis_fake_start(&e->fake, &e->loop);
    redis_env_create(e, e->fake.url);
    redis_probe_await_up(&e->loop, e->r);
}

void redis_env_end(struct redis_env *e) {
    if (e->r)
        redis_probe_close(&e->loop, e->r);
    if (e->fake.port)
        redis_fake_stop(&e->fake);
    redis_loop_end(&e->loop);
    free(e);
}

int redis_env_ask(struct redis_env *e, const char *word) {
    return tc_redis_command(e->r, TC_STR("k"), redis_on_reply, &e->calls[e->used++ % 64], "ECHO %s", word);
}

struct waiting {
    struct redis_env *e;
    int n;
};

static bool has_replies(void *arg) {
    struct waiting *w = arg;
    return w->e->replies.n >= w->n;
}

void redis_env_await_replies(struct redis_env *e, int n) {
    struct waiting w = {e, n};
    redis_run_until_cond(&e->loop, has_replies, &w);
}

bool redis_env_was_down(void *arg) {
    return ((struct redis_env *)arg)->probe.downs > 0;
}

bool redis_env_is_up_again(void *arg) {
    struct redis_env *e = arg;
    return e->probe.downs > 0 && tc_redis_is_up(e->r);
}

void redis_env_await(struct redis_env *e, bool (*cond)(void *)) {
    redis_run_until_cond(&e->loop, cond, e);
}

void redis_env_say_echo(struct redis_fake_peer *p, const redisReply *command) {
    char reply[256];
    if (!redis_fake_is(command, "ECHO")) {
        redis_fake_greet(p, command);
        return;
    }
    snprintf(reply, sizeof(reply), "$%zu\r\n%s\r\n", (size_t)command->element[1]->len, command->element[1]->str);
    for (const char *c = reply; *c; c++) /* each byte a write: the reader sees every half */
        redis_fake_say_n(p, c, 1);
}

void redis_env_ignore_echo(struct redis_fake_peer *p, const redisReply *command) {
    if (!redis_fake_is(command, "ECHO"))
        redis_fake_greet(p, command);
}

void redis_env_reset_in_half_a_reply(struct redis_fake_peer *p, const redisReply *command) {
    if (!redis_fake_is(command, "ECHO")) {
        redis_fake_greet(p, command);
    } else if (p->number == 0) {
        if (p->commands == 2) /* the first after PING; half of it is all that is ever said */
            redis_fake_say(p, "$5\r\nhel");
        if (p->commands == 4)
            redis_fake_reset(p);
    } else {
        redis_env_say_echo(p, command);
    }
}

void redis_env_end_after_first(struct redis_fake_peer *p, const redisReply *command) {
    if (p->number == 0 && redis_fake_is(command, "ECHO"))
        redis_fake_end(p);
    else
        redis_fake_greet(p, command);
}
