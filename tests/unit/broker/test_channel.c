/* A room's stream against a real redis-server: what is announced, followed, and given to a reader who resumes. The
 * live side is read from a track, a reader's side by stepping its catch-up. */
#include "feed/channel.h"
#include "redis_fixture.h"
#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/pack.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct track_key key = {.dialect = &dialect_native, .include = INCLUDE_ALL};

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

/* ---- the writing side ---- */

static void do_redis(struct fixture *f, const char *key_name, const char *id, const struct tc_buf *e) {
    redisReply *r = redisCommand(f->writer, "XADD %s %s e %b", key_name, id, e->data, e->len);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    freeReplyObject(r);
}

static void ring(struct fixture *f, const char *bell, const char *id, const struct tc_buf *e) {
    struct tc_buf payload = {0};
    tc_buf_puts(&payload, id);
    tc_buf_putc(&payload, ' ');
    tc_buf_put_str(&payload, tc_buf_str(e));
    redisReply *r = redisCommand(f->writer, "PUBLISH %s %b", bell, payload.data, payload.len);
    assert_non_null(r);
    freeReplyObject(r);
    tc_buf_fini(&payload);
}

static void write_event(struct fixture *f, const char *gen, const char *id, const struct tc_event *ev) {
    char log[TC_KEY_MAX], bell[TC_KEY_MAX];
    struct tc_buf e = {0};
    tc_key_gen(log, "tc:", TC_KEY_LOG, gen);
    tc_key_gen(bell, "tc:", TC_KEY_BELL, gen);
    tc_event_encode(&e, ev);
    do_redis(f, log, id, &e);
    ring(f, bell, id, &e);
    tc_buf_fini(&e);
}

static void write_created(struct fixture *f, const char *gen, const char *room) {
    char meta[TC_KEY_MAX];
    tc_key_gen(meta, "tc:", TC_KEY_META, gen);
    freeReplyObject(redisCommand(f->writer, "HSET %s model m channel %s", meta, room));
    write_event(f, gen, "0-1", &(struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m")});
}

static void write_text(struct fixture *f, const char *gen, const char *id, uint64_t offset, const char *text) {
    write_event(f, gen, id, &(struct tc_event){.type = TC_EV_DELTA, .offset = offset, .text = tc_str_from(text)});
}

static void write_done(struct fixture *f, const char *gen, const char *id) {
    write_event(f, gen, id, &(struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
}

static void announce_as(struct fixture *f, const char *gen, const char *id, bool bell) {
    char log[TC_KEY_MAX], name[TC_KEY_MAX];
    struct tc_buf e = {0};
    msgpack_packer pk;
    tc_key_channel(log, "tc:", "room", false);
    tc_key_channel(name, "tc:", "room", true);
    pack_init(&pk, &e);
    msgpack_pack_map(&pk, 3);
    pack_str(&pk, TC_STR("type"));
    pack_str(&pk, TC_STR("generation"));
    pack_str(&pk, TC_STR("model"));
    pack_str(&pk, TC_STR("m"));
    pack_str(&pk, TC_STR("generation"));
    pack_str(&pk, tc_str_from(gen));
    do_redis(f, log, id, &e);
    if (bell)
        ring(f, name, id, &e);
    tc_buf_fini(&e);
}

static void announce(struct fixture *f, const char *gen, const char *id) {
    announce_as(f, gen, id, true);
}

/* ---- the reading side ---- */

static const char *text_of(struct tc_buf *b) {
    tc_buf_putc(b, '\0');
    b->len--;
    return b->data;
}

static const char *live_text(struct fixture *f) {
    tc_buf_reset(&f->seen);
    track_copy(f->live, f->live->tail_off, f->live->head_off, &f->seen);
    return text_of(&f->seen);
}

static bool live_has(void *arg) {
    struct reader *r = arg;
    return strstr(live_text(r->f), r->wanted) != NULL;
}

static void await_live(struct fixture *f, const char *wanted) {
    struct reader r = {.f = f, .wanted = wanted};
    redis_run_until_cond(&f->loop, live_has, &r);
}

static bool step_once(void *arg) {
    struct reader *r = arg;
    r->result = r->c->step(r->c, &r->out, 65536);
    tc_buf_put_str(&r->all, tc_buf_str(&r->out));
    tc_buf_reset(&r->out);
    return r->result != CATCHUP_WAIT && r->result != CATCHUP_MORE;
}

static void open_reader(struct fixture *f, struct reader *r, const char *after) {
    struct vector v;
    *r = (struct reader){.f = f};
    if (after != NULL)
        assert_int_equal(vector_parse(&v, tc_str_from(after)), 0);
    r->c = channel_catchup(f->room, &key, after != NULL ? &v : NULL);
    assert_non_null(r->c);
}

static void close_reader(struct reader *r) {
    r->c->destroy(r->c);
    tc_buf_fini(&r->out);
    tc_buf_fini(&r->all);
}

/* Catches up from `after` to the head; what came is in f->seen. */
static const char *catch_up(struct fixture *f, const char *after) {
    struct reader r;
    open_reader(f, &r, after);
    redis_run_until_cond(&f->loop, step_once, &r);
    assert_int_equal(r.result, CATCHUP_HEAD);
    tc_buf_reset(&f->seen);
    tc_buf_put_str(&f->seen, tc_buf_str(&r.all));
    close_reader(&r);
    return text_of(&f->seen);
}

static unsigned count_of(const char *text, const char *wanted) {
    unsigned n = 0;
    for (const char *p = strstr(text, wanted); p != NULL; p = strstr(p + 1, wanted))
        n++;
    return n;
}

static void assert_order(const char *text, const char *first, const char *second) {
    const char *a = strstr(text, first), *b = strstr(text, second);
    if (a == NULL || b == NULL || a >= b)
        fail_msg("not in this order: %s, %s in:\n%s", first, second, text);
}

static void assert_in(const char *text, const char *wanted) {
    if (strstr(text, wanted) == NULL)
        fail_msg("%s is not in:\n%s", wanted, text);
}

static void assert_not_in(const char *text, const char *unwanted) {
    if (strstr(text, unwanted) != NULL)
        fail_msg("%s is in:\n%s", unwanted, text);
}

static bool has_failed(void *arg) {
    return ((struct feed *)arg)->state == FEED_FAILED;
}

/* The room, loaded, with a track that hears what its live subscribers would. */
static void enter(struct fixture *f) {
    assert_int_equal(channel_get(&f->hub, "room", &f->room), 0);
    assert_int_equal(fan_track(channel_fan(f->room), &key, &f->live), 0);
    (void)catch_up(f, NULL);
}

/* ---- the fixture ---- */

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    redis_server_init(&f->server);
    redis_server_start(&f->server);
    f->writer = redisConnectUnix(f->server.sock);
    assert_non_null(f->writer);
    assert_int_equal(f->writer->err, 0);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    struct tc_redis_options options = {.url = f->server.url, .pubsub = true};
    assert_int_equal(tc_redis_create(&f->redis, &f->loop, &options), 0);
    struct hub_options opts = {.prefix = "tc:",
                               .lag_events = 1024,
                               .lag_bytes = 262144,
                               .heartbeat_ms = 15000,
                               .linger_ms = 5000,
                               .lease_ms = 10000,
                               .sweep_ms = 3600000, /* the tests sweep */
                               .max_feeds = 1000,
                               .instance = "test"};
    assert_int_equal(hub_init(&f->hub, &f->loop, f->redis, &opts), 0);
    redis_probe_await_up(&f->loop, f->redis);
    *state = f;
    return 0;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f->room != NULL)
        channel_unref(f->room);
    hub_close(&f->hub, on_closed, &f->hub_closed);
    redis_run_until(&f->loop, &f->hub_closed);
    redis_probe_close(&f->loop, f->redis);
    redis_loop_end(&f->loop);
    assert_null(f->hub.feeds);
    assert_null(f->hub.channels);
    assert_int_equal(f->hub.stats.channels, 0);
    redisFree(f->writer);
    redis_server_fini(&f->server);
    tc_buf_fini(&f->seen);
    free(f);
    return 0;
}

/* ---- live ---- */

static void channel_without_log_is_empty_and_settled(void **state) {
    struct fixture *f = *state;
    enter(f);
    assert_int_equal(f->seen.len, 0);
    assert_int_equal(f->hub.stats.channels, 1);
}

static void channel_announcement_comes_before_the_generation_and_names_it(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    write_text(f, "gen_a", "1-2", 0, "Hi");
    await_live(f, "id: 1000-0~gen_a:1-2\n");
    const char *text = live_text(f);
    assert_in(text, "event: generation\ndata: {\"type\":\"generation\",\"model\":\"m\",\"generation\":\"gen_a\"}\nid: "
                    "1000-0~gen_a:0-0\n");
    assert_order(text, "event: generation", "event: created");
    assert_order(text, "id: 1000-0~gen_a:0-1\n", "id: 1000-0~gen_a:1-2\n");
    assert_in(text, "data: {\"generation\":\"gen_a\",\"type\":\"delta\"");
}

static void channel_generation_that_is_done_leaves_the_position(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    write_created(f, "gen_b", "room");
    announce(f, "gen_b", "1000-1");
    write_text(f, "gen_a", "1-2", 0, "A");
    await_live(f, "\"text\":\"A\"");
    write_done(f, "gen_a", "1-3");
    await_live(f, "event: done");
    assert_in(live_text(f), "id: 1000-1~gen_b:0-1\n\n");
    write_text(f, "gen_b", "1-2", 0, "B");
    await_live(f, "id: 1000-1~gen_b:1-2\n");
}

static void channel_generation_over_before_it_is_noticed_is_given_whole(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "1-2", 0, "all");
    write_done(f, "gen_a", "1-3");
    announce(f, "gen_a", "1000-0");
    await_live(f, "event: done");
    const char *text = live_text(f);
    assert_in(text, "id: 1000-0~gen_a:1-2\n");
    assert_in(text, "id: 1000-0\n");
    assert_int_equal(count_of(text, "event: "), 4);
}

static void channel_bells_out_of_order_lose_nothing(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    write_created(f, "gen_b", "room");
    announce_as(f, "gen_a", "1000-0", false); /* its bell comes last, or never */
    announce(f, "gen_b", "1000-1");
    await_live(f, "id: 1000-1~gen_a:0-1~gen_b:0-1\n");
    assert_order(live_text(f), "id: 1000-0~gen_a:0-0\n", "gen_b");
}

static void channel_sweep_finds_what_was_not_announced(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    announce_as(f, "gen_a", "1000-0", false);
    channels_sweep(&f->hub, hub_now_ms(&f->hub) + 4000000);
    assert_int_equal(fan_track(channel_fan(f->room), &key, &f->live), 0); /* the sweep dropped the unused one */
    await_live(f, "id: 1000-0~gen_a:0-1\n");
}

static void channel_garbage_in_the_log_is_passed_and_counted(void **state) {
    struct fixture *f = *state;
    enter(f);
    struct tc_buf junk = {0};
    char log[TC_KEY_MAX];
    tc_key_channel(log, "tc:", "room", false);
    tc_buf_puts(&junk, "\xc1garbage");
    do_redis(f, log, "999-0", &junk);
    tc_buf_fini(&junk);
    announce(f, "no id", "999-1");
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    await_live(f, "id: 1000-0~gen_a:0-1\n");
    assert_int_equal(f->hub.stats.decode_errors, 2);
    assert_int_equal(count_of(live_text(f), "event: generation"), 1);
}

static void channel_whose_generation_has_no_log_tells_its_end(void **state) {
    struct fixture *f = *state;
    enter(f);
    announce(f, "gen_gone", "1000-0");
    await_live(f, "event: done");
    const char *text = live_text(f);
    assert_in(text, "\"type\":\"error\",\"generation\":\"gen_gone\",\"code\":\"log_gone\"");
    assert_order(text, "event: generation", "event: error");
}

static void channel_lost_branch_is_told_and_given_from_the_start(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    write_text(f, "gen_a", "1-2", 0, "old");
    write_text(f, "gen_a", "1-3", 3, "er");
    await_live(f, "id: 1000-0~gen_a:1-3\n");
    freeReplyObject(redisCommand(f->writer, "DEL tc:{gen_a}:log"));
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "2-2", 0, "new");
    write_text(f, "gen_a", "2-3", 3, "er");
    await_live(f, "id: 1000-0~gen_a:2-3\n");
    const char *text = live_text(f);
    assert_in(text, "\"type\":\"gap\",\"generation\":\"gen_a\",\"from\":\"0-1\",\"to\":\"1-3\"");
    assert_in(text, "\"reason\":\"lost\"");
    assert_order(text, "\"reason\":\"lost\"", "\"new\"");
}

static void channel_too_many_live_generations_leave_out_the_oldest(void **state) {
    struct fixture *f = *state;
    enter(f);
    for (int i = 0; i <= VECTOR_MAX; i++) {
        char gen[24], id[24];
        (void)snprintf(gen, sizeof gen, "gen_%02d", i);
        (void)snprintf(id, sizeof id, "1000-%d", i);
        write_created(f, gen, "room");
        announce(f, gen, id);
    }
    await_live(f, "gen_64:0-1\n");
    const char *text = live_text(f);
    assert_in(text, "{\"type\":\"status\",\"generation\":\"gen_00\",\"state\":\"left_out\"}");
    assert_int_equal(count_of(text, "left_out"), 1);
}

/* ---- catching up ---- */

static void catchup_from_nothing_gives_what_is_live_from_its_start(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_over", "room");
    write_done(f, "gen_over", "1-2");
    announce(f, "gen_over", "900-0");
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "1-2", 0, "Hel");
    write_text(f, "gen_a", "1-3", 3, "lo");
    announce(f, "gen_a", "1000-0");
    enter(f);
    const char *text = f->seen.data;
    assert_not_in(text, "gen_over");
    assert_in(text, "data: {\"generation\":\"gen_a\",\"type\":\"delta\"");
    assert_in(text, "\"text\":\"Hello\"");
    assert_in(text, "id: 1000-0~gen_a:1-3\n");
    write_text(f, "gen_a", "1-4", 5, "!");
    await_live(f, "id: 1000-0~gen_a:1-4\n");
    assert_not_in(live_text(f), "Hello");
}

static void catchup_gives_missed_announcements_and_what_followed(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    write_text(f, "gen_a", "1-2", 0, "one");
    write_text(f, "gen_a", "1-3", 3, "two");
    write_done(f, "gen_a", "1-4");
    write_created(f, "gen_b", "room");
    announce(f, "gen_b", "1001-0");
    write_done(f, "gen_b", "1-2");
    write_created(f, "gen_c", "room");
    announce(f, "gen_c", "1002-0");
    enter(f);
    const char *text = catch_up(f, "1000-0~gen_a:1-2");
    assert_not_in(text, "\"one\"");
    assert_in(text, "\"two\"");
    assert_int_equal(count_of(text, "event: generation"), 2);
    assert_int_equal(count_of(text, "event: done"), 2);
    assert_int_equal(count_of(text, "event: created"), 2);
    assert_not_in(text, "gen_b:1-2"); /* the id of its last event no longer names it */
    assert_order(text, "event: generation", "\"generation\":\"gen_b\",\"type\":\"done\"");
    size_t n = strlen("id: 1002-0~gen_c:0-1\n\n");
    assert_in(text + strlen(text) - n, "id: 1002-0~gen_c:0-1\n\n");
}

/* Each id that a reader is given must be one from which exactly the rest follows. */
static void catchup_from_any_id_of_the_stream_gives_exactly_the_rest(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    write_text(f, "gen_a", "1-2", 0, "a1");
    await_live(f, "\"a1\"");
    write_created(f, "gen_b", "room");
    announce(f, "gen_b", "1001-0");
    await_live(f, "gen_b:0-1\n");
    write_text(f, "gen_b", "1-2", 0, "b1");
    await_live(f, "\"b1\"");
    write_done(f, "gen_a", "1-3");
    await_live(f, "event: done");
    write_event(f, "gen_b", "1-3",
                &(struct tc_event){.type = TC_EV_NOTE, .kind_name = TC_STR("k"), .text = TC_STR("n")});
    await_live(f, "event: note");
    char *all = strdup(live_text(f));
    assert_non_null(all);
    unsigned total = count_of(all, "\nid: "), seen = 0;
    for (char *p = strstr(all, "\nid: "); p != NULL; p = strstr(p + 1, "\nid: ")) {
        char id[256];
        assert_int_equal(sscanf(p, "\nid: %255s", id), 1);
        seen++;
        const char *rest = catch_up(f, id);
        if (count_of(rest, "\nid: ") != total - seen)
            fail_msg("from %s: not %u events:\n%s\nof\n%s", id, total - seen, rest, all);
    }
    assert_int_equal(seen, 8);
    free(all);
}

static void catchup_that_leaves_events_out_counts_them_as_seen(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "1-2", 0, "text");
    announce(f, "gen_a", "1000-0");
    enter(f);
    struct track_key notes = {.dialect = &dialect_native, .include = INCLUDE_NOTES};
    struct reader r = {.f = f, .c = channel_catchup(f->room, &notes, NULL)};
    assert_non_null(r.c);
    redis_run_until_cond(&f->loop, step_once, &r);
    assert_int_equal(r.result, CATCHUP_HEAD);
    assert_in(text_of(&r.all), "id: 1000-0~gen_a:0-1\n");
    assert_not_in(text_of(&r.all), "event: delta");
    write_created(f, "gen_b", "room");
    announce(f, "gen_b", "1001-0");
    await_live(f, "gen_b:0-1\n");
    redis_run_until_cond(&f->loop, step_once, &r);
    assert_in(text_of(&r.all), "id: 1001-0~gen_a:1-2~gen_b:0-0\n");
    close_reader(&r);
}

static void channel_vanished_log_leaves_the_room(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    enter(f);
    assert_int_equal(count_of(f->seen.data, "\nid: "), 1);
    freeReplyObject(redisCommand(f->writer, "FLUSHALL"));
    struct feed *feed = NULL;
    HASH_FIND_STR(f->hub.feeds, "gen_a", feed);
    assert_non_null(feed);
    feed_sweep(feed, hub_now_ms(&f->hub) + 4000000);
    redis_run_until_cond(&f->loop, has_failed, feed);
    channels_sweep(&f->hub, hub_now_ms(&f->hub));
    assert_string_equal(catch_up(f, NULL), "");
    assert_int_equal(feed->refs, 0);
}

static void catchup_of_a_foreign_generation_gives_nothing_of_it(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_secret", "elsewhere");
    write_text(f, "gen_secret", "1-2", 0, "private");
    announce(f, "gen_none", "1000-0");
    enter(f);
    assert_string_equal(catch_up(f, "1000-0~gen_secret:0-0~gen_missing:1-1"), "");
    write_text(f, "gen_secret", "1-3", 7, "words");
    redis_run_for(&f->loop, 50);
    assert_string_equal(live_text(f), "");
}

static void catchup_ahead_of_a_lost_log_goes_live(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    enter(f);
    const char *text = catch_up(f, "5000-0~gen_a:0-1");
    assert_string_equal(text, "");
}

static void catchup_of_one_id_ahead_finds_what_was_not_rung(void **state) {
    struct fixture *f = *state;
    enter(f);
    write_created(f, "gen_a", "room");
    announce_as(f, "gen_a", "1000-0", false);
    const char *text = catch_up(f, "1000-0~gen_a:0-0");
    assert_int_equal(count_of(text, "event: generation"), 0);
    assert_int_equal(count_of(text, "event: created"), 1);
}

static void catchup_of_more_announcements_than_a_position_holds_gives_all(void **state) {
    struct fixture *f = *state;
    enum { MANY = VECTOR_MAX * 2 + 7 };
    for (int i = 0; i < MANY; i++) {
        char gen[24], id[24];
        (void)snprintf(gen, sizeof gen, "gen_%03d", i);
        (void)snprintf(id, sizeof id, "1000-%d", i);
        write_created(f, gen, "room");
        write_done(f, gen, "1-2");
        announce(f, gen, id);
    }
    enter(f);
    const char *text = catch_up(f, "1-0");
    assert_int_equal(count_of(text, "event: generation"), MANY);
    assert_int_equal(count_of(text, "event: done"), MANY);
}

/* Destroys a catch-up after each number of steps that it takes, with Redis's replies still to come. */
static void catchup_destroyed_at_every_stage_leaves_nothing(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "1-2", 0, "x");
    announce(f, "gen_a", "1000-0");
    for (int stage = 0; stage < 12; stage++) {
        struct reader r;
        assert_int_equal(channel_get(&f->hub, "room", &f->room), 0);
        open_reader(f, &r, stage % 2 ? "1-0" : NULL);
        for (int i = 0; i < stage / 2; i++) {
            (void)step_once(&r);
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
        }
        close_reader(&r);
        channel_unref(f->room);
        f->room = NULL;
        channels_destroy(&f->hub);
    }
}

static void catchup_destroyed_while_its_page_comes_is_not_touched(void **state) {
    struct fixture *f = *state;
    struct reader r;
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    enter(f);
    open_reader(f, &r, "1-0");
    assert_false(step_once(&r));
    close_reader(&r);
    assert_int_equal(count_of(catch_up(f, "1-0"), "event: generation"), 1); /* answered after it */
}

static void channel_closed_at_every_stage_of_loading_leaves_nothing(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    for (int turns = 0; turns < 10; turns++) {
        struct channel *c;
        assert_int_equal(channel_get(&f->hub, "room", &c), 0);
        for (int i = 0; i < turns; i++) {
            (void)uv_run(&f->loop, UV_RUN_NOWAIT);
            redis_run_for(&f->loop, 1);
        }
        channel_unref(c);
        channels_destroy(&f->hub);
        assert_null(f->hub.channels);
    }
}

static void channel_unused_goes_after_lingering(void **state) {
    struct fixture *f = *state;
    enter(f);
    uint64_t now = hub_now_ms(&f->hub);
    channels_sweep(&f->hub, now + 100000);
    assert_int_equal(f->hub.stats.channels, 1);
    channel_unref(f->room);
    f->room = NULL;
    channels_sweep(&f->hub, hub_now_ms(&f->hub) + 1000);
    assert_int_equal(f->hub.stats.channels, 1);
    channels_sweep(&f->hub, hub_now_ms(&f->hub) + 6000);
    assert_int_equal(f->hub.stats.channels, 0);
}

static void channel_comes_through_a_redis_restart(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    announce(f, "gen_a", "1000-0");
    enter(f);
    freeReplyObject(redisCommand(f->writer, "CLIENT KILL TYPE pubsub"));
    freeReplyObject(redisCommand(f->writer, "CLIENT KILL TYPE normal SKIPME yes"));
    write_created(f, "gen_b", "room");
    announce(f, "gen_b", "1001-0");
    write_text(f, "gen_a", "1-2", 0, "a");
    await_live(f, "gen_b:0-1\n");
    await_live(f, "\"generation\":\"gen_a\",\"type\":\"delta\"");
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(channel_without_log_is_empty_and_settled),
        T(channel_announcement_comes_before_the_generation_and_names_it),
        T(channel_generation_that_is_done_leaves_the_position),
        T(channel_generation_over_before_it_is_noticed_is_given_whole),
        T(channel_bells_out_of_order_lose_nothing),
        T(channel_sweep_finds_what_was_not_announced),
        T(channel_garbage_in_the_log_is_passed_and_counted),
        T(channel_whose_generation_has_no_log_tells_its_end),
        T(channel_lost_branch_is_told_and_given_from_the_start),
        T(channel_too_many_live_generations_leave_out_the_oldest),
        T(catchup_from_nothing_gives_what_is_live_from_its_start),
        T(catchup_gives_missed_announcements_and_what_followed),
        T(catchup_from_any_id_of_the_stream_gives_exactly_the_rest),
        T(catchup_that_leaves_events_out_counts_them_as_seen),
        T(channel_vanished_log_leaves_the_room),
        T(catchup_of_a_foreign_generation_gives_nothing_of_it),
        T(catchup_ahead_of_a_lost_log_goes_live),
        T(catchup_of_one_id_ahead_finds_what_was_not_rung),
        T(catchup_of_more_announcements_than_a_position_holds_gives_all),
        T(catchup_destroyed_at_every_stage_leaves_nothing),
        T(catchup_destroyed_while_its_page_comes_is_not_touched),
        T(channel_closed_at_every_stage_of_loading_leaves_nothing),
        T(channel_unused_goes_after_lingering),
        T(channel_comes_through_a_redis_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
