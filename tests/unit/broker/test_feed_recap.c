/* Shared catch-ups between real readers of one feed: who stood on a branch that a failover took is told so, whatever
 * was kept for its position; equals share one reading of the log's events. */
#include "feed/recap.h"

#include "base/log.h"
#include "dialect/dialect.h"
#include "feed/replay.h"
#include "feed/tail.h"
#include "feed_events.h"
#include "feed_fixture.h"
#include "tokencast/error.h"

#include <string.h>

#define EVENTS (2 * RECAP_MIN) /* enough to be kept */

static const struct track_key key = {.dialect = &dialect_native, .include = INCLUDE_ALL};

/* How often an event was put into a reader's form: what a shared catch-up saves. */
static unsigned framed;

static int count_event(struct tc_buf *out, const struct dialect_event *in) {
    framed++;
    return dialect_native.event(out, in);
}

static void control(struct tc_buf *out, const struct dialect_control *in) {
    dialect_native.control(out, in);
}

static const struct dialect counting = {.name = "counting", .event = count_event, .control = control};
static const struct track_key counted = {.dialect = &counting, .include = INCLUDE_ALL};

static void write_from(struct feeds *w, const char *id, uint64_t attempt, uint64_t first, uint64_t last,
                       const char *text) {
    for (uint64_t seq = first; seq <= last; seq++) {
        struct tc_buf e = {0};
        /* Kinds by turns, so that the merge leaves them apart: each is a frame. */
        struct tc_event ev = {.type = TC_EV_DELTA,
                              .kind = seq % 2 ? TC_KIND_TEXT : TC_KIND_REASONING,
                              .offset = seq,
                              .text = tc_str_from(text)};
        tc_event_encode(&e, &ev);
        (void)feeds_do(w, "XADD tc:{%s}:log %d-%d e %b", id, (int)attempt, (int)seq, e.data, e.len);
        tc_buf_fini(&e);
    }
}

static bool is_read(void *arg) {
    struct feed *f = arg;
    return f->state == FEED_READY && !f->reading;
}

static void read_log(struct feeds *w, struct feed *f) {
    tail_read(f);
    feeds_wait(w, is_read, f);
}

/* ---- a reader ---- */

struct reader {
    struct catchup *c;
    struct tc_buf out, got;
    enum catchup_result result;
};

static bool step_once(void *arg) {
    struct reader *r = arg;
    r->result = r->c->step(r->c, &r->out, RECAP_BYTES);
    tc_buf_put_str(&r->got, tc_buf_str(&r->out));
    tc_buf_reset(&r->out);
    return r->result != CATCHUP_WAIT && r->result != CATCHUP_MORE;
}

/* From `after` to the head; what came is in r->got, with a NUL behind it. */
static void catch_up(struct feeds *w, struct feed *f, const struct track_key *form, struct tc_position after,
                     struct reader *r) {
    *r = (struct reader){.c = replay_create(f, form, after, NULL, false)};
    assert_non_null(r->c);
    feeds_wait(w, step_once, r);
    assert_int_equal(r->result, CATCHUP_HEAD);
    tc_buf_putc(&r->got, '\0');
    r->c->destroy(r->c);
    tc_buf_fini(&r->out);
}

static unsigned count_of(const struct reader *r, const char *wanted) {
    unsigned n = 0;
    for (const char *p = strstr(r->got.data, wanted); p != NULL; p = strstr(p + 1, wanted))
        n++;
    return n;
}

static unsigned kept(const struct feed *f) {
    unsigned n = 0;
    for (size_t i = 0; i < RECAP_SLOTS; i++)
        n += f->hub->recap.slots[i].taken;
    return n;
}

/* ---- tests ---- */

static void equals_share_one_catch_up(void **state) {
    struct feeds *w = *state;
    struct feed *f = feeds_open(w, 0, "g", true);
    struct reader a, b;
    write_from(w, "g", 1, 3, 2 + EVENTS, "word ");
    read_log(w, f);
    uint64_t reads = f->hub->stats.log_reads;
    framed = 0;
    catch_up(w, f, &counted, at(1, 2), &a);
    unsigned once = framed;
    assert_int_equal(once, EVENTS);
    catch_up(w, f, &counted, at(1, 2), &b);
    assert_int_equal(framed, once); /* nothing was put into a form again */
    assert_int_equal(kept(f), 1);
    assert_int_equal(f->hub->stats.log_reads, reads);
    assert_string_equal(a.got.data, b.got.data);
    /* What came since follows what is shared, once. */
    write_from(w, "g", 1, 3 + EVENTS, 4 + EVENTS, "later ");
    read_log(w, f);
    tc_buf_fini(&b.got);
    catch_up(w, f, &counted, at(1, 2), &b);
    assert_int_equal(framed, once + 2);
    assert_int_equal(count_of(&b, "event: delta"), EVENTS + 2);
    assert_int_equal(count_of(&b, "later "), 2);
    tc_buf_fini(&a.got);
    tc_buf_fini(&b.got);
}

static void reader_elsewhere_or_in_another_form_shares_nothing(void **state) {
    struct feeds *w = *state;
    struct feed *f = feeds_open(w, 0, "g", true);
    (void)feeds_do(w, "DEL tc:jobs"); /* the fixture's next job has the same id */
    struct feed *other = feeds_open(w, 0, "h", true);
    struct reader r;
    write_from(w, "g", 1, 3, 2 + EVENTS, "word ");
    write_from(w, "h", 1, 3, 2 + EVENTS, "other ");
    read_log(w, f);
    read_log(w, other);
    catch_up(w, f, &key, at(1, 2), &r);
    tc_buf_fini(&r.got);
    catch_up(w, f, &key, at(1, 3), &r);
    assert_int_equal(count_of(&r, "event: delta"), EVENTS - 1);
    tc_buf_fini(&r.got);
    struct tc_position until = at(1, 4);
    r = (struct reader){.c = replay_create(f, &key, at(1, 2), &until, false)};
    feeds_wait(w, step_once, &r);
    assert_int_equal(r.result, CATCHUP_END);
    tc_buf_putc(&r.got, '\0');
    assert_int_equal(count_of(&r, "event: delta"), 2); /* who asked for a part gets no more */
    r.c->destroy(r.c);
    tc_buf_fini(&r.out);
    tc_buf_fini(&r.got);
    catch_up(w, other, &key, at(1, 2), &r);
    assert_int_equal(count_of(&r, "other "), EVENTS);
    tc_buf_fini(&r.got);
    struct track_key text_only = key;
    text_only.include = INCLUDE_TEXT;
    catch_up(w, f, &text_only, at(1, 2), &r);
    assert_int_equal(count_of(&r, "reasoning"), 0);
    tc_buf_fini(&r.got);
}

/* The log as a failover leaves it: the end of attempt 1 is gone, attempt 2 has written over it. */
static void fail_over(struct feeds *w, const char *id, uint64_t left) {
    (void)feeds_do(w, "DEL tc:{%s}:log", id);
    struct tc_buf e = {0};
    tc_event_encode(&e, &(struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m")});
    (void)feeds_do(w, "XADD tc:{%s}:log 0-1 e %b", id, e.data, e.len);
    tc_buf_reset(&e);
    tc_event_encode(&e, &(struct tc_event){.type = TC_EV_START, .model = TC_STR("m")});
    (void)feeds_do(w, "XADD tc:{%s}:log 1-2 e %b", id, e.data, e.len);
    tc_buf_fini(&e);
    write_from(w, id, 1, 3, left, "word ");
    write_from(w, id, 2, left + 1, left + EVENTS, "anew ");
}

static bool has_restarted(void *arg) {
    struct feed *f = arg;
    return is_read(f) && f->last.attempt == 2;
}

/* Both came back from one position; the one's branch still holds it, the other's events behind it are lost. */
static void reader_of_a_lost_branch_is_told_and_its_neighbour_goes_on(void **state) {
    struct feeds *w = *state;
    struct feed *f = feeds_open(w, 0, "g", true);
    struct reader r;
    const uint64_t end = 2 + 2 * EVENTS, left = 2 + EVENTS;
    write_from(w, "g", 1, 3, end, "word ");
    read_log(w, f);
    /* What is kept: from 1-10, which both branches hold, and from a place that only the lost one has. */
    catch_up(w, f, &key, at(1, 10), &r);
    assert_int_equal(count_of(&r, "word "), end - 10);
    tc_buf_fini(&r.got);
    catch_up(w, f, &key, at(1, left + 4), &r);
    tc_buf_fini(&r.got);
    assert_int_equal(kept(f), 2);
    fail_over(w, "g", left);
    tail_read(f);
    feeds_wait(w, has_restarted, f);
    assert_int_equal(kept(f), 0); /* positions mean something else now */
    for (int i = 0; i < 2; i++) { /* the second of each finds what was kept for the first */
        catch_up(w, f, &key, at(1, 10), &r);
        assert_int_equal(count_of(&r, "event: gap"), 0);
        assert_int_equal(count_of(&r, "word "), left - 10);
        assert_int_equal(count_of(&r, "anew "), EVENTS);
        tc_buf_fini(&r.got);
        catch_up(w, f, &key, at(1, left + 4), &r);
        assert_int_equal(count_of(&r, "event: gap"), 1);
        assert_int_equal(count_of(&r, "\"reason\":\"lost\""), 1);
        assert_int_equal(count_of(&r, "id: 0-0\n"), 1);
        assert_int_equal(count_of(&r, "event: created"), 1); /* the log from its start */
        assert_int_equal(count_of(&r, "word "), left - 2);
        assert_int_equal(count_of(&r, "anew "), EVENTS);
        tc_buf_fini(&r.got);
    }
}

/* The same before the feed has noticed anything but its history: only the end of what is kept tells. */
static void recap_that_ends_on_a_lost_branch_is_not_given_out(void **state) {
    struct feeds *w = *state;
    struct feed *f = feeds_open(w, 0, "g", true);
    struct reader r;
    const uint64_t end = 2 + 2 * EVENTS;
    write_from(w, "g", 1, 3, end, "word ");
    read_log(w, f);
    catch_up(w, f, &key, at(1, 10), &r);
    tc_buf_fini(&r.got);
    assert_int_equal(kept(f), 1);
    struct recap_slot *slot = &f->hub->recap.slots[0];
    slot->end.to.attempt = 7; /* its newest event is not what stands there now */
    catch_up(w, f, &key, at(1, 10), &r);
    assert_int_equal(count_of(&r, "event: delta"), end - 10);
    tc_buf_fini(&r.got);
    assert_int_equal(slot->end.to.attempt, 1); /* built anew */
}

#define T(name) cmocka_unit_test_setup_teardown(name, feeds_setup, feeds_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(equals_share_one_catch_up),
        T(reader_elsewhere_or_in_another_form_shares_nothing),
        T(reader_of_a_lost_branch_is_told_and_its_neighbour_goes_on),
        T(recap_that_ends_on_a_lost_branch_is_not_given_out),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
