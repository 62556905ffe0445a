/* What a reader who resumes in a room is given. */
#include "channel_fixture.h"
#include "tokencast/error.h"
#include "wire/pack.h"

#include <string.h>

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

/* As from another loop, which was faster. */
static void catchup_past_an_end_that_is_not_heard_of_yet_gives_nothing(void **state) {
    struct fixture *f = *state;
    char log[TC_KEY_MAX];
    struct tc_buf done = {0};
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "1-2", 0, "said");
    announce(f, "gen_a", "1000-0");
    enter(f);
    tc_key_gen(log, "tc:", TC_KEY_LOG, "gen_a");
    tc_event_encode(&done, &(struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
    do_redis(f, log, "1-3", &done);
    tc_buf_fini(&done);
    assert_string_equal(catch_up(f, "1000-0"), "");
    await_live(f, "event: done\n"); /* those who have not had it are told */
}

static void catchup_past_an_end_that_was_taken_back_gives_all(void **state) {
    struct fixture *f = *state;
    write_created(f, "gen_a", "room");
    write_text(f, "gen_a", "1-2", 0, "said");
    announce(f, "gen_a", "1000-0");
    enter(f);
    const char *text = catch_up(f, "1000-0");
    assert_int_equal(count_of(text, "event: created"), 1);
    assert_in(text, "\"said\"");
    assert_in(text, "id: 1000-0~gen_a:1-2\n");
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

#define T(name) cmocka_unit_test_setup_teardown(name, room_setup, room_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(catchup_from_nothing_gives_what_is_live_from_its_start),
        T(catchup_gives_missed_announcements_and_what_followed),
        T(catchup_from_any_id_of_the_stream_gives_exactly_the_rest),
        T(catchup_that_leaves_events_out_counts_them_as_seen),
        T(catchup_of_a_foreign_generation_gives_nothing_of_it),
        T(catchup_ahead_of_a_lost_log_goes_live),
        T(catchup_past_an_end_that_is_not_heard_of_yet_gives_nothing),
        T(catchup_past_an_end_that_was_taken_back_gives_all),
        T(catchup_of_one_id_ahead_finds_what_was_not_rung),
        T(catchup_of_more_announcements_than_a_position_holds_gives_all),
        T(catchup_destroyed_at_every_stage_leaves_nothing),
        T(catchup_destroyed_while_its_page_comes_is_not_touched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
