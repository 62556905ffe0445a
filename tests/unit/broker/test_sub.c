/* Subscribers and their overflow policies, over a connection that takes as many bytes as a test lets it. */
#define _GNU_SOURCE /* memmem */
#include "feed/sub.h"

#include "feed/fan.h"
#include "feed/hub.h"
#include "feed_events.h"
#include "tokencast/error.h"

#define LAST_MAX 3000

/* The part of http/ that subscribers use. */
struct http_conn {
    size_t room; /* bytes it takes before it is full */
    struct tc_buf got;
    bool wants, ended, clean, dead;
    void *arg;
};

ssize_t http_stream_send(struct http_conn *c, const struct iovec *iov, int n) {
    size_t took = 0;
    assert_false(c->ended);
    if (c->dead)
        return TC_EIO;
    for (int i = 0; i < n && c->room > 0; i++) {
        size_t part = iov[i].iov_len < c->room ? iov[i].iov_len : c->room;
        tc_buf_append(&c->got, iov[i].iov_base, part);
        c->room -= part;
        took += part;
    }
    return took > 0 ? (ssize_t)took : TC_EAGAIN;
}

void http_stream_want_write(struct http_conn *c) {
    c->wants = true;
}

void http_stream_end(struct http_conn *c, bool clean) {
    assert_false(c->ended);
    c->ended = true;
    c->clean = clean;
}

/* The world: one source with a log of its own that a merging catch-up reads. */
static struct hub hub;
static struct fan fan;
static struct made_event events[LAST_MAX + 1]; /* by seq, from 1 */
static uint64_t units_after[LAST_MAX + 1];     /* the text's length then; all is ASCII */
static uint64_t last;
static unsigned seed;

struct replayed {
    struct catchup base;
    struct merge merge;
    struct tc_buf *out;
    struct track_key key;
    uint64_t next;
};

static int replayed_emit(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct replayed *r = arg;
    char id[TC_POSITION_MAX];
    struct dialect_event in = {.id = {id, tc_position_format(pos, id)}, .ev = ev, .raw = raw};
    return frame_event(r->out, &r->key, &in);
}

static enum catchup_result replayed_step(struct catchup *c, struct tc_buf *out, size_t limit) {
    struct replayed *r = TC_CONTAINER_OF(c, struct replayed, base);
    r->out = out;
    for (; r->next <= last; r->next++) {
        if (out->len >= limit)
            return CATCHUP_MORE;
        struct made_event *e = &events[r->next];
        assert_int_equal(merge_push(&r->merge, at(1, r->next), &e->ev, tc_buf_str(&e->raw)), 0);
    }
    assert_int_equal(merge_flush(&r->merge), 0);
    return last > 0 && events[last].ev.type == TC_EV_DONE ? CATCHUP_END : CATCHUP_HEAD;
}

static void replayed_destroy(struct catchup *c) {
    struct replayed *r = TC_CONTAINER_OF(c, struct replayed, base);
    merge_fini(&r->merge);
    free(r);
}

static struct catchup *replayed_create(void *arg, const struct track *track, struct tc_position pos, bool lost) {
    (void)arg;
    (void)lost;
    struct replayed *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->base = (struct catchup){.step = replayed_step, .destroy = replayed_destroy};
    r->key = track->key;
    r->next = pos.seq + 1;
    merge_init(&r->merge, PACE_TOKEN, 32768, replayed_emit, r);
    return &r->base;
}

static int before_each(void **state) {
    (void)state;
    static uv_loop_t loop;
    memset(&hub, 0, sizeof hub);
    assert_int_equal(uv_loop_init(&loop), 0);
    hub.loop = &loop;
    assert_int_equal(uv_idle_init(&loop, &hub.idle), 0); /* started with the first dirty fan */
    hub.opts = (struct hub_options){.lag_events = 64, .lag_bytes = 16384, .heartbeat_ms = 1};
    tc_list_init(&hub.dirty);
    fan_init(&fan, &hub, &(struct fan_source){.catchup = replayed_create});
    last = 0;
    seed = 7;
    return 0;
}

static void cut_off(struct sub *s, void *arg) {
    (void)arg;
    sub_destroy(s, false);
}

static int after_each(void **state) {
    (void)state;
    assert_int_equal(fan.sub_count, 0);
    fan_fini(&fan);
    for (uint64_t seq = 1; seq <= last; seq++)
        drop_event(&events[seq]);
    assert_int_equal(hub.stats.streams, 0);
    assert_int_equal(hub.stats.no_memory, 0);
    uv_close((uv_handle_t *)&hub.idle, NULL);
    assert_int_equal(uv_run(hub.loop, UV_RUN_NOWAIT), 0);
    assert_int_equal(uv_loop_close(hub.loop), 0);
    return 0;
}

static unsigned draw(unsigned below) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % below;
}

static struct sub *join(struct http_conn *c, enum sub_policy policy, enum pace pace) {
    struct track_key key = {.dialect = &dialect_native, .include = INCLUDE_ALL, .pace = pace, .chunked = true};
    struct track *t;
    struct sub *s;
    struct tc_buf head = {0};
    assert_int_equal(fan_track(&fan, &key, &t), 0);
    assert_int_equal(sub_create(&s, &fan, t, c, policy, &head, replayed_create(NULL, t, at(0, 0), false)), 0);
    c->arg = s;
    sub_pump(s);
    return s;
}

static void turn(void) {
    bool left = true;
    for (int i = 0; i < 10000 && left; i++) {
        unsigned budget = 10;
        left = fan_flush(&fan, &budget);
    }
    assert_false(left);
}

static void say(const struct tc_event *ev) {
    assert_true(last < LAST_MAX);
    struct made_event *m = &events[++last];
    make_event(m, ev);
    units_after[last] = (last > 1 ? units_after[last - 1] : 0) + (ev->type == TC_EV_DELTA ? ev->text.n : 0);
    struct dialect_event in = in_dialect(m, at(1, last));
    fan_event(&fan, at(1, last), &in);
}

static uint64_t offset_of(uint64_t seq) { /* of the text after event seq */
    return seq > 0 ? units_after[seq] : 0;
}

static void say_delta(const char *text) {
    say(&(struct tc_event){.type = TC_EV_DELTA, .offset = offset_of(last), .text = tc_str_from(text)});
}

static void say_deltas(unsigned n) {
    static const char *const texts[] = {"alpha ", "bet", "a", " and a rather longer piece of text ", "x y z"};
    for (unsigned i = 0; i < n; i++)
        say_delta(texts[draw(5)]);
}

static void finish(void) {
    say(&(struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
    fan_end(&fan);
    turn();
}

static void give_room(struct http_conn *c, size_t room) {
    c->room = room;
    if (c->ended || !c->wants)
        return;
    c->wants = false;
    sub_stream_events.on_writable(c->arg);
}

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
        WITH_WORLD(sub_slow_under_close_ends_with_bye),
        WITH_WORLD(sub_slow_costs_others_nothing),
        WITH_WORLD(sub_random_socket_under_drop_is_told_all_it_misses),
        WITH_WORLD(sub_random_socket_under_merge_misses_nothing),
        WITH_WORLD(sub_paced_random_socket_is_told_all_it_misses),
        WITH_WORLD(sub_gone_peer_leaves_at_every_stage),
        WITH_WORLD(sub_drained_in_mid_frame_ends_well_formed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
