/* Subscribers and their overflow policies. */
#define _GNU_SOURCE /* memmem */
#include "sub_fixture.h"

#include "tokencast/error.h"

/* What a reader makes of a whole body. */
struct reading {
    uint64_t next;           /* first event not yet seen or told of */
    uint64_t units, missing; /* text up to units is known; up to `missing` it was told that it misses some */
    unsigned gaps, deltas, kept, done, bye;
    uint64_t dropped;
};

static uint64_t number_after(struct tc_str line, const char *key) {
    const char *found = memmem(line.p, line.n, key, strlen(key)); /* a line end stops the number */
    assert_non_null(found);
    return strtoull(found + strlen(key), NULL, 10);
}

static void read_gap(struct reading *r, struct tc_str frame) {
    uint64_t from = number_after(frame, "\"from\":\"1-"), to = number_after(frame, "\"to\":\"1-");
    assert_int_equal(from, r->next);
    assert_true(to >= from && to <= last);
    assert_int_equal(number_after(frame, "\"dropped\":"), to - from + 1);
    for (uint64_t seq = from; seq <= to; seq++)
        assert_true(events[seq].ev.type == TC_EV_DELTA || events[seq].ev.type == TC_EV_NOTE);
    r->next = to + 1;
    assert_true(r->units >= offset_of(from - 1) || r->missing >= offset_of(from - 1));
    r->missing = offset_of(to);
    r->gaps++;
    r->dropped += to - from + 1;
}

/* An event's id is the next one, or with merged pieces the last of those it holds. Text goes on where the reader is, or
 * within what it was told it misses. */
static void read_event(struct reading *r, struct tc_str frame, bool delta) {
    uint64_t id = number_after(frame, "\nid: 1-");
    assert_true(id + 1 >= r->next);
    if (delta) {
        uint64_t offset = number_after(frame, "\"offset\":");
        const char *text = memmem(frame.p, frame.n, "\"text\":\"", 8);
        assert_non_null(text);
        const char *end = memchr(text + 8, '"', (size_t)(frame.p + frame.n - text) - 8);
        assert_non_null(end);
        assert_true(offset >= r->units && offset <= r->missing);
        r->units = r->missing = offset + (uint64_t)(end - (text + 8));
        r->deltas++;
    } else {
        assert_int_equal(id, r->next);
        r->kept++;
    }
    r->next = id + 1 > r->next ? id + 1 : r->next;
}

static bool begins(struct tc_str s, const char *with) {
    return s.n >= strlen(with) && memcmp(s.p, with, strlen(with)) == 0;
}

static struct reading read_body(const struct http_conn *c) {
    struct reading r = {.next = 1};
    bool complete;
    assert_true(c->ended && c->clean);
    struct tc_buf body = dechunk(tc_buf_str(&c->got), &complete);
    assert_true(complete);
    for (size_t i = 0; i < body.len;) {
        struct tc_str rest = {body.data + i, body.len - i};
        if (begins(rest, ":\n")) {
            i += 2;
            continue;
        }
        const char *end = memmem(rest.p, rest.n, "\n\n", 2);
        assert_non_null(end);
        struct tc_str frame = {rest.p, (size_t)(end - rest.p)};
        i += frame.n + 2;
        assert_false(r.done || r.bye);
        if (begins(frame, "event: gap\n"))
            read_gap(&r, frame);
        else if (begins(frame, "event: bye\nretry: "))
            r.bye++;
        else
            read_event(&r, frame, begins(frame, "event: delta\n"));
        r.done += begins(frame, "event: done\n");
    }
    tc_buf_fini(&body);
    return r;
}

static struct reading assert_complete(struct http_conn *c) {
    struct reading r = read_body(c);
    assert_int_equal(r.done, 1);
    assert_int_equal(r.next, last + 1);
    assert_int_equal(r.missing, offset_of(last));
    tc_buf_fini(&c->got);
    return r;
}

static void sub_in_time_gets_every_event_verbatim(void **state) {
    (void)state;
    struct http_conn c = {.room = SIZE_MAX};
    join(&c, SUB_DROP, PACE_TOKEN);
    for (int i = 0; i < 100; i++) {
        say_deltas(1 + draw(40));
        turn();
    }
    finish();
    uint64_t count = last;
    struct reading r = assert_complete(&c);
    assert_int_equal(r.gaps, 0);
    assert_int_equal(r.deltas + r.kept, count);
    assert_int_equal(hub.stats.overflow_drop, 0);
}

/* Between two visits more may come than a track keeps: whose socket has room is not slow. */
static void sub_not_yet_visited_is_sent_what_would_be_trimmed(void **state) {
    (void)state;
    struct http_conn c = {.room = SIZE_MAX};
    join(&c, SUB_DROP, PACE_TOKEN);
    say_deltas(2000);
    finish();
    assert_int_equal(assert_complete(&c).gaps, 0);
}

static void sub_slow_under_drop_gets_one_gap_that_says_what_is_missing(void **state) {
    (void)state;
    struct http_conn c = {.room = 1000};
    join(&c, SUB_DROP, PACE_TOKEN);
    say_deltas(500);
    turn();
    assert_true(c.wants);
    give_room(&c, SIZE_MAX);
    turn();
    finish();
    assert_int_equal(hub.stats.overflow_drop > 0, 1);
    struct reading r = assert_complete(&c);
    assert_int_equal(r.gaps, 1);
    assert_int_equal(r.dropped, hub.stats.dropped_events);
    assert_int_equal(r.dropped + r.deltas + r.kept, last);
}

static void sub_slow_under_drop_gets_what_must_be_kept(void **state) {
    (void)state;
    struct http_conn c = {.room = 1000};
    join(&c, SUB_DROP, PACE_TOKEN);
    say_deltas(100);
    say(&(struct tc_event){.type = TC_EV_TOOL_CALL, .done = true, .arguments = TC_STR("{}")});
    say_deltas(50);
    say(&(struct tc_event){.type = TC_EV_ERROR, .code = TC_STR("x"), .recoverable = true});
    say(&(struct tc_event){.type = TC_EV_ATTEMPT, .attempt = 2, .mode = TC_STR("continue")});
    say_deltas(300);
    turn();
    finish(); /* while it still is not reading */
    assert_false(c.ended);
    give_room(&c, SIZE_MAX);
    turn();
    struct reading r = assert_complete(&c);
    assert_int_equal(r.kept, 4);
    assert_int_equal(r.gaps, 3);
}

static void sub_slow_under_merge_loses_no_text(void **state) {
    (void)state;
    struct http_conn c = {.room = 1000};
    join(&c, SUB_MERGE, PACE_TOKEN);
    say_deltas(1500);
    turn();
    give_room(&c, SIZE_MAX);
    turn();
    say_deltas(10);
    finish();
    struct reading r = assert_complete(&c);
    assert_int_equal(r.gaps, 0);
    assert_true(r.deltas < 200);
    assert_int_equal(hub.stats.overflow_merge, 1);
}

/* Takes nothing while so many are said, then everything. */
static void stall(struct http_conn *c, unsigned deltas) {
    c->room = 0;
    say_deltas(deltas);
    turn();
    give_room(c, SIZE_MAX);
}

/* The track has no frame before the first that this reader misses: it stands where the log was when it joined. */
static void sub_slow_from_where_it_joined_misses_nothing(void **state) {
    (void)state;
    struct http_conn c = {.room = SIZE_MAX};
    say_deltas(100);
    join(&c, SUB_MERGE, PACE_TOKEN);
    stall(&c, 300);
    assert_int_equal(hub.stats.overflow_merge, 1);
    finish();
    (void)assert_complete(&c);
}

static void sub_slow_from_where_it_joined_is_told_no_more_than_it_misses(void **state) {
    (void)state;
    struct http_conn c = {.room = SIZE_MAX};
    say_deltas(100);
    join(&c, SUB_DROP, PACE_TOKEN);
    stall(&c, 300);
    assert_true(hub.stats.overflow_drop > 0);
    finish();
    assert_true(assert_complete(&c).gaps > 0);
}

/* What the track sent last was of the branch that is gone. Its positions come again with what a worker writes. */
static void sub_slow_after_a_lost_branch_misses_nothing(void **state) {
    (void)state;
    struct http_conn c = {.room = SIZE_MAX};
    join(&c, SUB_MERGE, PACE_TOKEN);
    say_deltas(100);
    turn();
    tc_buf_reset(&c.got);
    lose(41);
    turn(); /* the first 40 again */
    stall(&c, 300);
    assert_int_equal(hub.stats.overflow_merge, 1);
    finish();
    (void)assert_complete(&c);
}

static void sub_slow_under_close_ends_with_bye(void **state) {
    (void)state;
    struct http_conn c = {.room = 1000};
    join(&c, SUB_CLOSE, PACE_TOKEN);
    say_deltas(500);
    turn();
    give_room(&c, SIZE_MAX);
    turn();
    struct reading r = read_body(&c);
    assert_int_equal(r.bye, 1);
    assert_true(r.next > 1 && r.next < last);
    assert_int_equal(r.gaps, 0);
    tc_buf_fini(&c.got);
    assert_int_equal(fan.sub_count, 0);
}

static void sub_slow_costs_others_nothing(void **state) {
    (void)state;
    struct http_conn slow[3] = {{.room = 700}, {.room = 700}, {.room = 700}}, fast = {.room = SIZE_MAX};
    for (int i = 0; i < 3; i++)
        join(&slow[i], (enum sub_policy)i, PACE_TOKEN);
    join(&fast, SUB_DROP, PACE_TOKEN);
    for (int i = 0; i < 50; i++) {
        say_deltas(20);
        turn();
    }
    finish();
    assert_int_equal(assert_complete(&fast).gaps, 0);
    for (int i = 0; i < 3; i++) {
        assert_false(slow[i].ended);
        tc_buf_fini(&slow[i].got);
    }
    fan_each_sub(&fan, cut_off, NULL); /* before their sockets go */
}

static void sub_that_leaves_in_mid_flush_passes_nobody_over(void **state) {
    (void)state;
    struct http_conn fast[3] = {{.room = SIZE_MAX}, {.room = SIZE_MAX}, {.room = SIZE_MAX}}, slow[3] = {{0}};
    for (int i = 0; i < 3; i++)
        join(&fast[i], SUB_DROP, PACE_TOKEN);
    say_deltas(1);
    turn(); /* the hand stands behind them now */
    for (int i = 0; i < 3; i++)
        join(&slow[i], SUB_DROP, PACE_TOKEN);
    finish();
    for (int i = 0; i < 3; i++) {
        assert_true(fast[i].ended && fast[i].clean);
        assert_false(slow[i].ended);
        tc_buf_fini(&fast[i].got);
    }
    fan_each_sub(&fan, cut_off, NULL); /* before their sockets go */
}

static void sub_that_joins_in_mid_flush_passes_nobody_over(void **state) {
    (void)state;
    struct http_conn early[10], late[5];
    for (int i = 0; i < 10; i++) {
        early[i] = (struct http_conn){.room = SIZE_MAX};
        join(&early[i], SUB_DROP, PACE_TOKEN);
    }
    say_deltas(1);
    unsigned budget = 5;
    assert_true(fan_flush(&fan, &budget)); /* the hand stands amid them now */
    say_deltas(1);
    for (int i = 0; i < 5; i++) {
        late[i] = (struct http_conn){.room = SIZE_MAX};
        join(&late[i], SUB_DROP, PACE_TOKEN);
    }
    turn();
    for (int i = 0; i < 10; i++) {
        assert_int_equal(((struct sub *)early[i].arg)->off, fan.tracks->head_off);
        assert_int_equal(early[i].got.len, fan.tracks->head_off);
    }
    say_deltas(3);
    finish();
    for (int i = 0; i < 10; i++) {
        (void)assert_complete(&early[i]);
        if (i < 5)
            (void)assert_complete(&late[i]);
    }
}

static void random_sockets(enum sub_policy policy, enum pace pace) {
    after_each(NULL); /* each round has a world of its own */
    for (unsigned round = 0; round < 12; round++) {
        before_each(NULL);
        seed = round * 31 + 5;
        struct http_conn c = {.room = draw(3000)};
        join(&c, policy, pace);
        say(&(struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m")});
        while (last < 1200) {
            say_deltas(1 + draw(60));
            if (draw(8) == 0)
                say(&(struct tc_event){.type = TC_EV_TOOL_CALL, .done = true, .arguments = TC_STR("{}")});
            if (draw(2) == 0)
                turn();
            if (draw(3) == 0)
                give_room(&c, draw(2500));
        }
        finish();
        for (int i = 0; i < 3; i++) {
            give_room(&c, SIZE_MAX);
            turn();
        }
        struct reading r = assert_complete(&c);
        assert_int_equal(r.gaps > 0, policy == SUB_DROP);
        after_each(NULL);
    }
    before_each(NULL);
}

static void sub_random_socket_under_drop_is_told_all_it_misses(void **state) {
    (void)state;
    random_sockets(SUB_DROP, PACE_TOKEN);
}

static void sub_random_socket_under_merge_misses_nothing(void **state) {
    (void)state;
    random_sockets(SUB_MERGE, PACE_TOKEN);
}

static void sub_paced_random_socket_is_told_all_it_misses(void **state) {
    (void)state;
    random_sockets(SUB_DROP, PACE_WORD);
}

static void sub_gone_peer_leaves_at_every_stage(void **state) {
    (void)state;
    struct http_conn c[3] = {{.room = 100}, {.room = 100}, {.room = SIZE_MAX}};
    join(&c[0], SUB_DROP, PACE_TOKEN);
    join(&c[1], SUB_DROP, PACE_TOKEN);
    join(&c[2], SUB_DROP, PACE_TOKEN);
    say_deltas(200);
    turn();
    sub_stream_events.on_gone(c[0].arg);
    c[1].dead = c[2].dead = true;
    give_room(&c[1], 1);
    say_deltas(1);
    turn();
    for (int i = 0; i < 3; i++) {
        assert_true(c[i].ended && !c[i].clean);
        tc_buf_fini(&c[i].got);
    }
    assert_int_equal(hub.stats.streams_gone, 3);
    assert_int_equal(fan.sub_count, 0);
}

static void sub_drained_in_mid_frame_ends_well_formed(void **state) {
    (void)state;
    struct http_conn c = {.room = 33};
    struct sub *s = join(&c, SUB_DROP, PACE_TOKEN);
    say_deltas(10);
    turn();
    sub_end_with(s, "bye", TC_STR("{\"type\":\"bye\",\"reason\":\"drain\"}"), 500);
    assert_false(c.ended);
    give_room(&c, SIZE_MAX);
    struct reading r = read_body(&c);
    assert_int_equal(r.bye, 1);
    assert_int_equal(r.next, 2);
    tc_buf_fini(&c.got);
}

#define WITH_WORLD(f) cmocka_unit_test_setup_teardown(f, before_each, after_each)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_WORLD(sub_in_time_gets_every_event_verbatim),
        WITH_WORLD(sub_not_yet_visited_is_sent_what_would_be_trimmed),
        WITH_WORLD(sub_slow_under_drop_gets_one_gap_that_says_what_is_missing),
        WITH_WORLD(sub_slow_under_drop_gets_what_must_be_kept),
        WITH_WORLD(sub_slow_under_merge_loses_no_text),
        WITH_WORLD(sub_slow_from_where_it_joined_misses_nothing),
        WITH_WORLD(sub_slow_from_where_it_joined_is_told_no_more_than_it_misses),
        WITH_WORLD(sub_slow_after_a_lost_branch_misses_nothing),
        WITH_WORLD(sub_slow_under_close_ends_with_bye),
        WITH_WORLD(sub_slow_costs_others_nothing),
        WITH_WORLD(sub_that_leaves_in_mid_flush_passes_nobody_over),
        WITH_WORLD(sub_that_joins_in_mid_flush_passes_nobody_over),
        WITH_WORLD(sub_random_socket_under_drop_is_told_all_it_misses),
        WITH_WORLD(sub_random_socket_under_merge_misses_nothing),
        WITH_WORLD(sub_paced_random_socket_is_told_all_it_misses),
        WITH_WORLD(sub_gone_peer_leaves_at_every_stage),
        WITH_WORLD(sub_drained_in_mid_frame_ends_well_formed),
    };
    return cmocka_run_group_tests_name("one by one", tests, NULL, NULL) +
           cmocka_run_group_tests_name("in batches", tests, in_batches, NULL);
}
