/* A room's stream: what is announced and followed, and what comes of it when logs and announcements are lost. */
#include "channel_fixture.h"
#include "tokencast/error.h"
#include "wire/pack.h"

#include <string.h>

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
    assert_int_equal(fan_track(channel_fan(f->room), &room_key, &f->live), 0); /* the sweep dropped the unused one */
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
    assert_in(text, "\"reason\":\"lost\"}\nid: 1000-0~gen_a:0-0\n\n");
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

#define T(name) cmocka_unit_test_setup_teardown(name, room_setup, room_teardown)

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
        T(channel_vanished_log_leaves_the_room),
        T(channel_closed_at_every_stage_of_loading_leaves_nothing),
        T(channel_unused_goes_after_lingering),
        T(channel_comes_through_a_redis_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
