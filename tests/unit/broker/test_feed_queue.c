/* What a broker knows of the jobs that wait, and how often it asks. */
#include "feed/queue.h"

#include "feed_fixture.h"

#include <stdio.h>
#include <string.h>

static void fill(struct feeds *w, int from, int to) {
    for (int i = from; i <= to; i++)
        (void)feeds_do(w, "XADD tc:jobs %d-1 gen g%d", i, i);
}

struct asker {
    struct queue_wait wait;
    int told;
};

static void on_told(void *arg) {
    ((struct asker *)arg)->told++;
}

static bool was_told(void *arg) {
    return ((struct asker *)arg)->told > 0;
}

static bool ask(struct feeds *w, struct asker *a, const char *job) {
    *a = (struct asker){.wait = {.job = job, .cb = on_told, .arg = a}};
    return queue_ask(&w->brokers[0].hub, &a->wait);
}

/* A look, whatever is known; then how many are before the job. */
static long long look(struct feeds *w, const char *job) {
    struct asker a;
    queue_forget(&w->brokers[0].hub);
    assert_true(ask(w, &a, job));
    feeds_wait(w, was_told, &a);
    assert_int_equal(a.told, 1);
    return queue_ahead(&w->brokers[0].hub, job);
}

static long long looks(struct feeds *w) { /* XRANGEs of the server so far */
    redisReply *r = redisCommand(w->hand, "INFO commandstats");
    long long calls = 0;
    const char *line = strstr(r->str, "cmdstat_xrange:calls=");
    if (line != NULL)
        assert_int_equal(sscanf(line, "cmdstat_xrange:calls=%lld", &calls), 1);
    freeReplyObject(r);
    return calls;
}

static void queue_counts_the_jobs_before_one(void **state) {
    fill(*state, 1, 5);
    assert_int_equal(look(*state, "4-1"), 3); /* nobody has made the group yet */
    (void)feeds_do(*state, "XGROUP CREATE tc:jobs workers 0");
    (void)feeds_do(*state, "XREADGROUP GROUP workers bob COUNT 2 STREAMS tc:jobs >");
    assert_int_equal(look(*state, "4-1"), 1);
    assert_int_equal(look(*state, "3-1"), 0);
    assert_int_equal(look(*state, "1-1"), 0);
}

static void queue_without_a_stream_or_with_garbage_is_unknown(void **state) {
    assert_int_equal(look(*state, "1-1"), -1);
    (void)feeds_do(*state, "SET tc:jobs x");
    assert_int_equal(look(*state, "1-1"), -1);
    (void)feeds_do(*state, "DEL tc:jobs");
    fill(*state, 1, 2);
    assert_int_equal(look(*state, "x"), -1);
    assert_int_equal(look(*state, ""), -1);
    assert_int_equal(look(*state, "2-1"), 1);
}

static void queue_longer_than_a_look_says_that_many(void **state) {
    struct hub *h = &((struct feeds *)*state)->brokers[0].hub;
    fill(*state, 1, QUEUE_JOBS + 20);
    assert_int_equal(look(*state, "99999-1"), QUEUE_JOBS);
    assert_int_equal(queue_ahead(h, "1000-1"), QUEUE_JOBS - 1);
    assert_true(queue_holds(h, "1000-1"));
    assert_false(queue_holds(h, "1001-1"));
}

static void queue_counts_what_came_after_the_look(void **state) {
    struct hub *h = &((struct feeds *)*state)->brokers[0].hub;
    struct asker a;
    fill(*state, 1, 2);
    assert_int_equal(look(*state, "2-1"), 1);
    h->queue.looked_ms = hub_now_ms(h);
    assert_false(ask(*state, &a, "9-1")); /* fresh: no other look */
    assert_false(ask(*state, &a, "7-1"));
    assert_false(ask(*state, &a, "7-1"));
    assert_int_equal(queue_ahead(h, "7-1"), 2);
    assert_int_equal(queue_ahead(h, "9-1"), 3);
    assert_true(queue_holds(h, "2-1"));
    assert_false(queue_holds(h, "7-1")); /* not seen there */
    assert_int_equal(a.told, 0);
}

static void queue_asked_by_many_is_looked_at_once(void **state) {
    struct feeds *w = *state;
    struct asker many[50];
    fill(w, 1, 3);
    long long before = looks(w);
    for (int i = 0; i < 50; i++)
        assert_true(ask(w, &many[i], "3-1"));
    for (int i = 0; i < 50; i++)
        feeds_wait(w, was_told, &many[i]);
    assert_int_equal(looks(w) - before, 1);
    assert_int_equal(queue_ahead(&w->brokers[0].hub, "3-1"), 2);
}

static void queue_forgotten_under_a_look_is_unknown(void **state) {
    struct feeds *w = *state;
    struct asker a;
    fill(w, 1, 3);
    assert_true(ask(w, &a, "3-1"));
    queue_forget(&w->brokers[0].hub);
    feeds_wait(w, was_told, &a);
    assert_int_equal(queue_ahead(&w->brokers[0].hub, "3-1"), -1);
    assert_false(queue_holds(&w->brokers[0].hub, "3-1"));
}

static void queue_that_cannot_be_asked_tells_at_the_end(void **state) {
    struct feeds *w = *state;
    struct asker a;
    fill(w, 1, 3);
    assert_true(ask(w, &a, "3-1"));
    feeds_end_broker(w, 0);
    assert_int_equal(a.told, 1);
}

static void queue_old_view_holds_nothing(void **state) {
    struct hub *h = &((struct feeds *)*state)->brokers[0].hub;
    fill(*state, 1, 3);
    (void)look(*state, "3-1");
    assert_true(queue_holds(h, "3-1"));
    h->queue.looked_ms -= (uint64_t)h->opts.sweep_ms + 1;
    assert_false(queue_holds(h, "3-1"));
}

static int setup(void **state) {
    int rc = feeds_setup(state);
    ((struct feeds *)*state)->brokers[0].hub.opts.sweep_ms = 60000; /* nothing grows old unless a test wants it */
    return rc;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, feeds_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(queue_counts_the_jobs_before_one),
        T(queue_without_a_stream_or_with_garbage_is_unknown),
        T(queue_longer_than_a_look_says_that_many),
        T(queue_counts_what_came_after_the_look),
        T(queue_asked_by_many_is_looked_at_once),
        T(queue_forgotten_under_a_look_is_unknown),
        T(queue_that_cannot_be_asked_tells_at_the_end),
        T(queue_old_view_holds_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
