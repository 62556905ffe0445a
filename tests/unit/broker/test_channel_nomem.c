/* A room with each allocation failing in turn: who reads it gets every event of its generations or is cut off, and who
 * comes when there is memory again gets everything. */
#include "nomem.h"

#include "base/log.h"
#include "channel_fixture.h"
#include "tokencast/error.h"

#include <stdio.h>
#include <string.h>

struct story {
    struct fixture *f;
    char gen[32], second[32];
    unsigned number; /* of the attempt; announcements rise with it */
};

static void begin(struct story *s, enum nomem_mode mode, unsigned n) {
    char id[32];
    s->number++;
    snprintf(s->gen, sizeof s->gen, "a_%d_%u", (int)mode, n);
    snprintf(s->second, sizeof s->second, "b_%d_%u", (int)mode, n);
    write_created(s->f, s->gen, "room");
    write_text(s->f, s->gen, "1-2", 0, "first ");
    snprintf(id, sizeof id, "%u-1", s->number);
    announce(s->f, s->gen, id);
}

static void end(struct story *s) {
    write_done(s->f, s->gen, "1-4");
    write_done(s->f, s->second, "1-3");
}

static void expect(struct story *s, const char *text, const char *gen, const char *wanted) {
    char generation[64];
    (void)s;
    snprintf(generation, sizeof generation, "\"generation\":\"%s\"", gen);
    assert_in(text, generation);
    assert_in(text, wanted);
}

static bool is_loaded(void *arg) {
    struct story *s = arg;
    struct hub *h = &s->f->hub;
    struct feed *f, *next;
    channels_sweep(h, hub_now_ms(h) + 1000); /* whatever failed is tried again by the sweep */
    HASH_ITER(hh, h->feeds, f, next) {
        feed_sweep(f, hub_now_ms(h) + 1000);
    }
    return feed_find(h, s->gen) != NULL && feed_settled(feed_find(h, s->gen)) && feed_find(h, s->gen)->last.seq == 3 &&
           feed_find(h, s->second) != NULL && feed_settled(feed_find(h, s->second)) &&
           feed_find(h, s->second)->last.seq == 2;
}

/* The room is opened, read and written to while memory fails; then everything is there for who comes. */
static bool read_room(void *arg, enum nomem_mode mode, unsigned n) {
    struct story *s = arg;
    struct fixture *f = s->f;
    struct reader r = {.f = f};
    char id[32];
    begin(s, mode, n);
    nomem_begin(mode, n);
    int err = channel_get(&f->hub, "room", &f->room);
    if (err == 0)
        r.c = channel_catchup(f->room, &room_key, NULL);
    redis_run_for(&f->loop, 4);
    for (int i = 0; r.c != NULL && i < 3; i++) {
        r.result = r.c->step(r.c, &r.out, 65536);
        if (r.result != CATCHUP_WAIT && r.result != CATCHUP_MORE)
            break;
        redis_run_for(&f->loop, 2);
    }
    nomem_pause();
    write_created(f, s->second, "room");
    write_text(f, s->second, "1-2", 0, "second ");
    snprintf(id, sizeof id, "%u-2", s->number);
    announce(f, s->second, id);
    write_text(f, s->gen, "1-3", 6, "third ");
    nomem_resume();
    redis_run_for(&f->loop, 4);
    bool failed = nomem_end();
    if (err != 0) {
        assert_int_equal(err, TC_ENOMEM);
        assert_int_equal(f->hub.stats.channels, 0);
        assert_int_equal(channel_get(&f->hub, "room", &f->room), 0);
    }
    if (r.c != NULL && r.result == CATCHUP_HEAD && tc_buf_ok(&r.out)) { /* it believes that it has all up to here */
        tc_buf_putc(&r.out, '\0');
        expect(s, r.out.data, s->gen, "first ");
    }
    if (r.c != NULL)
        r.c->destroy(r.c);
    tc_buf_fini(&r.out);
    redis_run_until_cond(&f->loop, is_loaded, s);
    const char *text = catch_up(f, NULL);
    expect(s, text, s->gen, "first ");
    expect(s, text, s->gen, "third ");
    expect(s, text, s->second, "second ");
    assert_not_in(text, "event: gap");
    end(s);
    channel_unref(f->room);
    f->room = NULL;
    redis_run_for(&f->loop, 2);
    channels_destroy(&f->hub);
    redis_run_for(&f->loop, 2);
    struct feed *feed, *next;
    HASH_ITER(hh, f->hub.feeds, feed, next) {
        feed_destroy(feed);
    }
    redis_run_for(&f->loop, 2);
    assert_int_equal(f->hub.stats.feeds, 0);
    freeReplyObject(redisCommand(f->writer, "FLUSHALL"));
    s->number = 0;
    return failed;
}

static void room_without_memory_loses_nothing(void **state) {
    struct story s = {.f = *state};
    s.f->hub.opts.sweep_ms = 10; /* what rooms and feeds go by */
    nomem_each(read_room, &s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(room_without_memory_loses_nothing, room_setup, room_teardown),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
