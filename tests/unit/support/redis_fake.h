/* A Redis that says what the test wants, on the test's own loop: it parses commands and leaves every answer to the
 * script. */
#ifndef TESTS_SUPPORT_REDIS_FAKE_H
#define TESTS_SUPPORT_REDIS_FAKE_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct redis_fake;

struct redis_fake_peer {
    struct redis_fake *fake;
    uv_tcp_t tcp;
    redisReader *reader;
    int number;   /* 0 is the first connection ever */
    int commands; /* received */
    bool closing;
    bool subscribed; /* for the script: it has sent a SUBSCRIBE of some kind */
    struct redis_fake_peer *next;
};

struct redis_fake {
    uv_tcp_t listener;
    int port;
    char url[64];
    int accepted;
    bool silent;  /* does not even parse what it gets */
    bool nodelay; /* an answer in several writes comes at once */
    bool stopped;
    struct redis_fake_peer *peers;
    /* NULL = greets (PONG to PING, OK to the rest). */
    void (*on_command)(struct redis_fake_peer *p, const redisReply *command);
    void *arg;
};

void redis_fake_start(struct redis_fake *f, uv_loop_t *loop);
void redis_fake_stop(struct redis_fake *f); /* listener and peers, waited for; idempotent */
bool redis_fake_is(const redisReply *command, const char *name);

void redis_fake_greet(struct redis_fake_peer *p, const redisReply *command);
void redis_fake_say(struct redis_fake_peer *p, const char *bytes);
void redis_fake_say_n(struct redis_fake_peer *p, const char *bytes, size_t n);
void redis_fake_end(struct redis_fake_peer *p);   /* FIN */
void redis_fake_reset(struct redis_fake_peer *p); /* RST */

#endif
