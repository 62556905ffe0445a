/* A room against a real redis-server: the writing side is what a broker and a worker would do, the live side is read
 * from a track, a reader's side by stepping its catch-up. */
#ifndef TESTS_BROKER_CHANNEL_FIXTURE_H
#define TESTS_BROKER_CHANNEL_FIXTURE_H

#include "feed/channel.h"
#include "redis_fixture.h"
#include "tokencast/event.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

extern const struct track_key room_key;

struct fixture {
    struct redis_server server;
    redisContext *writer; /* a broker's and a worker's hand */
    uv_loop_t loop;
    struct tc_redis *redis;
    struct hub hub;
    bool hub_closed;
    struct channel *room;
    struct track *live;
    struct tc_buf seen; /* NUL-terminated copy of the track, or of what a catch-up gave */
};

struct reader {
    struct fixture *f;
    struct catchup *c;
    struct tc_buf out, all;
    enum catchup_result result;
    const char *wanted;
};

void write_event(struct fixture *f, const char *gen, const char *id, const struct tc_event *ev);
void write_created(struct fixture *f, const char *gen, const char *room);
void write_text(struct fixture *f, const char *gen, const char *id, uint64_t offset, const char *text);
void write_done(struct fixture *f, const char *gen, const char *id);
void announce_as(struct fixture *f, const char *gen, const char *id, bool bell);
void announce(struct fixture *f, const char *gen, const char *id);
const char *live_text(struct fixture *f);
void await_live(struct fixture *f, const char *wanted);
bool step_once(void *arg);
void open_reader(struct fixture *f, struct reader *r, const char *after);
void close_reader(struct reader *r);
const char *catch_up(struct fixture *f, const char *after);
unsigned count_of(const char *text, const char *wanted);
void assert_order(const char *text, const char *first, const char *second);
void assert_in(const char *text, const char *wanted);
void assert_not_in(const char *text, const char *unwanted);
bool has_failed(void *arg);
void enter(struct fixture *f);
const char *text_of(struct tc_buf *b);
void do_redis(struct fixture *f, const char *key_name, const char *id, const struct tc_buf *e);

int room_setup(void **state);
int room_teardown(void **state);

#endif
