/* A feed and its readers with each allocation failing in turn: a reader gets every event, or is told of a gap, or is
 * cut off; and whoever comes when there is memory again gets everything. */
#include "nomem.h"

#include "feed_events.h"
#include "feed_fixture.h"

#include "base/log.h"
#include "dialect/dialect.h"
#include "feed/fan.h"
#include "feed/replay.h"
#include "feed/sub.h"
#include "http/batch.h"
#include "tokencast/error.h"

#include <jansson.h>
#include <string.h>

/* The part of http/ that subscribers use: a socket with room for everything. */
struct http_conn {
    struct tc_buf got;
    bool open, ended, clean;
};

ssize_t http_stream_send(struct http_conn *c, const struct iovec *iov, int n) {
    size_t sent = 0;
    nomem_pause();
    for (int i = 0; i < n; i++) {
        tc_buf_append(&c->got, iov[i].iov_base, iov[i].iov_len);
        sent += iov[i].iov_len;
    }
    nomem_resume();
    return (ssize_t)sent;
}

void http_stream_ahead(const struct http_conn *c) {
    (void)c;
}

void http_stream_want_write(struct http_conn *c) {
    fail_msg("a socket with room is not waited for: %d", c->ended);
}

void http_stream_end(struct http_conn *c, bool clean) {
    assert_false(c->ended);
    c->ended = true;
    c->clean = clean;
}

bool http_batch_add(struct http_batch *b, struct http_conn *c, const char *data, size_t len, void *arg) {
    (void)b, (void)c, (void)data, (void)len, (void)arg;
    return false;
}

void http_batch_submit(struct http_batch *b) {
    (void)b;
}

/* ---- what a reader understood ---- */

struct heard {
    struct tc_buf text;
    char id[64]; /* what it would come back with */
    bool done, gap;
};

static void hear_delta(struct heard *h, const json_t *ev) {
    const char *piece = json_string_value(json_object_get(ev, "text"));
    json_int_t offset = json_integer_value(json_object_get(ev, "offset"));
    assert_non_null(piece);
    if ((size_t)offset > h->text.len)
        fail_msg("a silent hole: offset %d after \"%.*s\"", (int)offset, (int)h->text.len, h->text.data);
    h->text.len = (size_t)offset;
    tc_buf_puts(&h->text, piece);
}

static void hear_line(struct heard *h, const char *line, size_t n) {
    if (n > 6 && memcmp(line, "data: ", 6) == 0) {
        json_t *ev = json_loadb(line + 6, n - 6, 0, NULL);
        const char *type = json_string_value(json_object_get(ev, "type"));
        assert_non_null(type);
        if (strcmp(type, "delta") == 0)
            hear_delta(h, ev);
        h->done = h->done || strcmp(type, "done") == 0;
        h->gap = h->gap || strcmp(type, "gap") == 0;
        json_decref(ev);
    } else if (n > 4 && memcmp(line, "id: ", 4) == 0) {
        snprintf(h->id, sizeof h->id, "%.*s", (int)(n - 4), line + 4);
    }
}

/* Whole events only: what was cut off within one is not heard, as in a browser. */
static void hear(struct heard *h, const struct tc_buf *got) {
    const char *at = got->data, *end = got->data + got->len;
    while (at != NULL && at < end) {
        const char *stop = at; /* the blank line */
        while (stop + 1 < end && !(stop[0] == '\n' && stop[1] == '\n'))
            stop++;
        if (stop + 1 >= end)
            return;
        while (at < stop) {
            const char *line = memchr(at, '\n', (size_t)(stop + 1 - at));
            hear_line(h, at, (size_t)(line - at));
            at = line + 1;
        }
        at = stop + 2;
    }
}

/* ---- a reader ---- */

struct reader {
    struct http_conn conn;
    struct heard heard;
};

/* TC_ENOMEM: it was told so instead of a stream, as the API does. */
static int read_from(struct reader *r, struct feed *f, enum pace pace, struct tc_position after) {
    const struct track_key key = {.dialect = &dialect_native, .include = INCLUDE_ALL, .pace = pace, .chunked = false};
    struct tc_buf head = {0};
    struct track *t;
    struct sub *s;
    int err = fan_track(&f->fan, &key, &t);
    if (err != 0)
        return err;
    struct catchup *c = replay_create(f, &key, after, NULL, false);
    if (c == NULL)
        return TC_ENOMEM;
    replay_tell_status(c, STATUS_UNKNOWN);
    err = sub_create(&s, &f->fan, t, &r->conn, SUB_MERGE, &head, c);
    if (err != 0)
        return err;
    r->conn.open = true;
    sub_pump(s);
    return 0;
}

static void forget(struct reader *r) {
    tc_buf_fini(&r->conn.got);
    tc_buf_fini(&r->heard.text);
    *r = (struct reader){0};
}

static const char *said_by(struct reader *r) {
    hear(&r->heard, &r->conn.got);
    tc_buf_putc(&r->heard.text, '\0');
    r->heard.text.len--;
    return r->heard.text.data;
}

static void assert_heard(struct reader *r, const char *whole) {
    const char *text = said_by(r);
    assert_true(r->conn.open && r->conn.ended);
    if (r->conn.clean && !r->heard.gap) {
        assert_true(r->heard.done);
        assert_string_equal(text, whole);
    } else if (!r->heard.gap) { /* cut off: what it has is right as far as it goes */
        assert_false(r->heard.done && strcmp(text, whole) != 0);
        assert_memory_equal(text, whole, strlen(text));
    }
}

static void assert_whole(struct reader *r, const char *whole) {
    assert_heard(r, whole);
    assert_true(r->conn.clean);
    assert_false(r->heard.gap);
    assert_string_equal(r->heard.text.data, whole);
}

/* ---- the log ---- */

struct story {
    struct feeds *w;
    enum pace pace;
    char id[32];
    unsigned seq;
    struct tc_buf text; /* what the log says by now */
};

static void put(struct story *s, const struct tc_event *ev) {
    struct tc_buf e = {0};
    nomem_pause();
    tc_event_encode(&e, ev);
    s->seq++;
    (void)feeds_do(s->w, "XADD tc:{%s}:log 1-%u e %b", s->id, s->seq, e.data, e.len);
    (void)feeds_do(s->w, "PUBLISH tc:{%s}:bell %b", s->id, "", (size_t)0);
    tc_buf_fini(&e);
    nomem_resume();
}

/* Announced as by a worker. */
static void announce(struct story *s, const struct tc_event *ev) {
    struct tc_buf e = {0}, bell = {0};
    nomem_pause();
    tc_event_encode(&e, ev);
    s->seq++;
    (void)feeds_do(s->w, "XADD tc:{%s}:log 1-%u e %b", s->id, s->seq, e.data, e.len);
    tc_buf_printf(&bell, "1-%u ", s->seq);
    tc_buf_put_str(&bell, tc_buf_str(&e));
    (void)feeds_do(s->w, "PUBLISH tc:{%s}:bell %b", s->id, bell.data, bell.len);
    tc_buf_fini(&bell);
    tc_buf_fini(&e);
    nomem_resume();
}

static void tell(struct story *s, const char *text) {
    announce(s, &(struct tc_event){.type = TC_EV_DELTA, .text = tc_str_from(text), .offset = s->text.len});
    nomem_pause();
    tc_buf_puts(&s->text, text);
    tc_buf_putc(&s->text, '\0');
    s->text.len--;
    nomem_resume();
}

static void begin(struct story *s, const char *name, enum nomem_mode mode, unsigned n) {
    struct tc_event created = {.type = TC_EV_CREATED, .model = TC_STR("m")};
    s->seq = 0;
    s->text = (struct tc_buf){0};
    snprintf(s->id, sizeof s->id, "%s_%d_%u", name, (int)mode, n);
    put(s, &created);
    (void)feeds_do(s->w, "HSET tc:{%s}:meta model m created 1", s->id);
    put(s, &(struct tc_event){.type = TC_EV_START, .model = TC_STR("m")});
    for (int i = 0; i < 5; i++)
        tell(s, "piece of ");
    tell(s, "hal");
}

static void end(struct story *s) {
    (void)feeds_do(s->w, "DEL tc:{%s}:log", s->id);
    tc_buf_fini(&s->text);
}

/* ---- time ---- */

static struct hub *hub_of(const struct story *s) {
    return &s->w->brokers[0].hub;
}

static void pass(struct story *s) {
    feeds_pass(s->w, 4);
}

static bool is_settled(void *arg) {
    struct feed *f = arg;
    feed_sweep(f, hub_now_ms(f->hub)); /* whatever failed is tried again by the sweep */
    return feed_settled(f) && !f->reading;
}

struct awaited {
    struct story *s;
    struct feed *f;
    struct reader *r;
};

static bool is_over(void *arg) {
    struct awaited *a = arg;
    feed_sweep(a->f, hub_now_ms(a->f->hub));
    return !a->r->conn.open || a->r->conn.ended;
}

static void await_end(struct story *s, struct feed *f, struct reader *r) {
    struct awaited a = {s, f, r};
    feeds_wait(s->w, is_over, &a);
}

static void drop_feed(struct story *s, struct feed *f) {
    feed_unref(f);
    feed_destroy(f);
    pass(s); /* replies that point to it come in */
    assert_null(hub_of(s)->feeds);
    assert_int_equal(hub_of(s)->stats.feeds, 0);
    assert_int_equal(hub_of(s)->stats.streams, 0);
}

/* With memory again: the rest is written, and everybody is judged. */
static void conclude(struct story *s, struct feed *f, struct reader *old) {
    struct reader fresh = {0}, back = {0};
    feeds_wait(s->w, is_settled, f);
    assert_int_equal(f->state, FEED_READY); /* it is there, whatever could not be read */
    f->refs++;
    assert_int_equal(read_from(&fresh, f, s->pace, at(0, 0)), 0);
    pass(s);
    tell(s, "f a word");
    tell(s, " more. ");
    announce(s, &(struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
    await_end(s, f, &fresh);
    assert_whole(&fresh, s->text.data);
    if (old != NULL && old->conn.open) {
        await_end(s, f, old);
        assert_heard(old, s->text.data);
        struct tc_position after = at(0, 0);
        if (old->heard.id[0] != '\0')
            assert_int_equal(tc_position_parse(old->heard.id, strlen(old->heard.id), &after), 0);
        assert_int_equal(read_from(&back, f, s->pace, after), 0);
        await_end(s, f, &back);
        bool gap = old->heard.gap;
        back.heard = old->heard; /* it goes on from what it had */
        old->heard = (struct heard){.gap = gap};
        if (!gap)
            assert_whole(&back, s->text.data);
    }
    forget(&fresh);
    forget(&back);
    f->refs--;
}

/* Held back whole by a pace of words, and longer than what its buffer has at first. */
#define LONG_WORD "pneumonoultramicroscopicsilicovolcanoconiosis-and-pneumonoultramicroscopicsilicovolcanoconi"

/* ---- attempts ---- */

/* Opening the feed and its first reader. */
static bool open_and_read(void *arg, enum nomem_mode mode, unsigned n) {
    struct story *s = arg;
    struct reader r = {0};
    struct feed *f = NULL;
    begin(s, "open", mode, n);
    nomem_begin(mode, n);
    int err = feed_get(hub_of(s), s->id, &f);
    if (err == 0)
        err = read_from(&r, f, s->pace, at(0, 0));
    pass(s);
    bool failed = nomem_end();
    if (err != 0) {
        assert_int_equal(err, TC_ENOMEM);
        assert_true(failed);
    }
    if (f == NULL) {
        assert_null(hub_of(s)->feeds);
        assert_int_equal(hub_of(s)->stats.feeds, 0);
        assert_int_equal(feed_get(hub_of(s), s->id, &f), 0);
    }
    conclude(s, f, &r);
    forget(&r);
    drop_feed(s, f);
    end(s);
    return failed;
}

static void opening_without_memory_is_told_or_made_up_for(void **state) {
    struct story s = {.w = *state, .pace = PACE_WORD};
    nomem_each(open_and_read, &s);
}

/* Events that come while somebody reads. */
static bool append(void *arg, enum nomem_mode mode, unsigned n) {
    struct story *s = arg;
    struct reader r = {0}, beside = {0}; /* in another form: its being there keeps the first one's track, too */
    struct feed *f;
    begin(s, "append", mode, n);
    assert_int_equal(feed_get(hub_of(s), s->id, &f), 0);
    assert_int_equal(read_from(&r, f, s->pace, at(0, 0)), 0);
    assert_int_equal(read_from(&beside, f, PACE_LINE, at(0, 0)), 0);
    feeds_wait(s->w, is_settled, f);
    pass(s);
    nomem_begin(mode, n);
    tell(s, "f and ");
    pass(s);
    tell(s, "whole, an");
    tell(s, "d on we go, " LONG_WORD);
    pass(s);
    bool failed = nomem_end();
    conclude(s, f, &r);
    await_end(s, f, &beside);
    assert_heard(&beside, s->text.data);
    forget(&beside);
    forget(&r);
    drop_feed(s, f);
    end(s);
    return failed;
}

static void appending_without_memory_cuts_off_or_is_made_up_for(void **state) {
    for (enum pace pace = PACE_TOKEN; pace <= PACE_WORD; pace++) {
        struct story s = {.w = *state, .pace = pace};
        nomem_each(append, &s);
    }
}

/* Events that nobody announced are read from the log. */
static bool read_on(void *arg, enum nomem_mode mode, unsigned n) {
    struct story *s = arg;
    struct reader r = {0};
    struct feed *f;
    begin(s, "on", mode, n);
    assert_int_equal(feed_get(hub_of(s), s->id, &f), 0);
    assert_int_equal(read_from(&r, f, s->pace, at(0, 0)), 0);
    feeds_wait(s->w, is_settled, f);
    pass(s);
    uint64_t gaps = hub_of(s)->stats.gaps_trimmed;
    tc_redis_unsubscribe(hub_of(s)->redis, &f->bell);
    tell(s, "f and ");
    tell(s, "whole, an");
    tell(s, "d on we go, " LONG_WORD);
    nomem_begin(mode, n);
    for (int i = 0; i < 5; i++) {
        feed_sweep(f, hub_now_ms(f->hub) + 1000);
        pass(s);
    }
    bool failed = nomem_end();
    conclude(s, f, &r);
    assert_int_equal(hub_of(s)->stats.gaps_trimmed, gaps); /* nothing was trimmed: nobody is told so */
    forget(&r);
    drop_feed(s, f);
    end(s);
    return failed;
}

static void reading_on_without_memory_is_made_up_for(void **state) {
    struct story s = {.w = *state, .pace = PACE_WORD};
    nomem_each(read_on, &s);
}

/* A second reader comes, from the log: what the history has forgotten. */
static bool catch_up(void *arg, enum nomem_mode mode, unsigned n) {
    struct story *s = arg;
    struct reader first = {0}, r = {0};
    struct feed *f;
    hub_of(s)->opts.lag_events = 4; /* so that the log must be read */
    begin(s, "catch", mode, n);
    assert_int_equal(feed_get(hub_of(s), s->id, &f), 0);
    assert_int_equal(read_from(&first, f, s->pace, at(0, 0)), 0);
    feeds_wait(s->w, is_settled, f);
    pass(s);
    nomem_begin(mode, n);
    int err = read_from(&r, f, s->pace, at(1, 3));
    pass(s);
    bool failed = nomem_end();
    assert_true(err == 0 || err == TC_ENOMEM);
    r.heard.text = (struct tc_buf){0};
    tc_buf_puts(&r.heard.text, "piece of "); /* what it had when it came */
    conclude(s, f, &r);
    await_end(s, f, &first);
    if (mode == NOMEM_ONCE) /* who was there does not suffer; without any memory a status can cut it off */
        assert_whole(&first, s->text.data);
    else
        assert_heard(&first, s->text.data);
    forget(&first);
    forget(&r);
    drop_feed(s, f);
    end(s);
    hub_of(s)->opts.lag_events = 1024;
    return failed;
}

static void catching_up_without_memory_harms_only_who_came(void **state) {
    struct story s = {.w = *state, .pace = PACE_WORD};
    nomem_each(catch_up, &s);
}

/* A branch is lost, and readers must be told to start over. */
static bool lose_branch(void *arg, enum nomem_mode mode, unsigned n) {
    struct story *s = arg;
    struct reader r = {0};
    struct feed *f;
    begin(s, "lose", mode, n);
    assert_int_equal(feed_get(hub_of(s), s->id, &f), 0);
    assert_int_equal(read_from(&r, f, s->pace, at(0, 0)), 0);
    feeds_wait(s->w, is_settled, f);
    pass(s);
    nomem_begin(mode, n);
    feed_lost(f);
    pass(s);
    bool failed = nomem_end();
    conclude(s, f, &r);
    assert_true(!r.conn.clean || r.heard.gap);
    forget(&r);
    drop_feed(s, f);
    end(s);
    return failed;
}

static void losing_a_branch_without_memory_is_told_or_cuts_off(void **state) {
    struct story s = {.w = *state, .pace = PACE_TOKEN};
    nomem_each(lose_branch, &s);
}

#define T(name) cmocka_unit_test_setup_teardown(name, feeds_setup, feeds_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(opening_without_memory_is_told_or_made_up_for),      T(appending_without_memory_cuts_off_or_is_made_up_for),
        T(reading_on_without_memory_is_made_up_for),           T(catching_up_without_memory_harms_only_who_came),
        T(losing_a_branch_without_memory_is_told_or_cuts_off),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
