/* ops/round.h over loops with threads of their own, one of which can be held up. */
#include "ops/round.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LOOPS 3

static struct broker_options options;
static struct loop loops[LOOPS];
static struct task stops[LOOPS], releases[LOOPS];
static uv_sem_t held, go; /* the last loop is in a task that waits for `go` */
static struct round tour;
static uv_thread_t seen[LOOPS]; /* whose thread was visited, in order */
static size_t visits;
static unsigned backs;
static atomic_size_t closed;

static void run_loop(void *arg) {
    struct loop *l = arg;
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

static void on_closed(void *arg) {
    (void)arg;
    atomic_fetch_add(&closed, 1);
}

static int begin(void **state) {
    enum tc_option_action action;
    struct tc_buf err = {0};
    char argv[4][64] = {"x", "--listen=127.0.0.1:0", "--redis=unix:///nowhere/redis.sock", "--loops=3"};
    char *words[] = {argv[0], argv[1], argv[2], argv[3]};
    (void)state;
    visits = 0;
    backs = 0;
    closed = 0;
    memset(stops, 0, sizeof stops);
    assert_int_equal(tc_options_parse(broker_option_table, &options, 4, words, NULL, &action, &err), 0);
    tc_buf_fini(&err);
    assert_int_equal(uv_sem_init(&held, 0) | uv_sem_init(&go, 0), 0);
    for (unsigned i = 0; i < LOOPS; i++) {
        assert_int_equal(loop_init(&loops[i], &options, i, "127.0.0.1:0"), 0);
        loops[i].on_closed = on_closed;
        if (i > 0)
            assert_int_equal(uv_thread_create(&loops[i].thread, run_loop, &loops[i]), 0);
    }
    return 0;
}

static void stop(struct task *t, struct loop *l) {
    (void)t;
    loop_stop(l);
    loop_stop(l); /* at once */
}

static void release(struct task *t, struct loop *l) {
    (void)t;
    loop_release(l);
}

static int end(void **state) {
    (void)state;
    for (size_t i = 0; i < LOOPS; i++) {
        stops[i].run = stop;
        loop_post(&loops[i], &stops[i]);
    }
    while (atomic_load(&closed) < LOOPS)
        uv_run(&loops[0].uv, UV_RUN_NOWAIT);
    for (size_t i = 0; i < LOOPS; i++) {
        releases[i].run = release;
        loop_post(&loops[i], &releases[i]);
    }
    uv_run(&loops[0].uv, UV_RUN_DEFAULT);
    for (size_t i = 0; i < LOOPS; i++) {
        if (i > 0)
            uv_thread_join(&loops[i].thread);
        loop_fini(&loops[i]);
    }
    uv_sem_destroy(&held);
    uv_sem_destroy(&go);
    return 0;
}

static void visit(struct round *r, struct loop *l) {
    assert_ptr_equal(r, &tour);
    assert_ptr_equal(l, &loops[visits]);
    seen[visits++] = uv_thread_self();
}

static void back(struct round *r) {
    uv_thread_t self = uv_thread_self();
    assert_ptr_equal(r, &tour);
    assert_true(uv_thread_equal(&self, &seen[0]));
    backs++;
}

static void start_round(size_t count) {
    tour = (struct round){.loops = loops, .count = count, .visit = visit, .back = back};
    round_start(&tour);
}

static void until_back(unsigned count) {
    while (backs < count)
        uv_run(&loops[0].uv, UV_RUN_ONCE);
}

static void round_visits_every_loop_on_its_thread_and_comes_back(void **state) {
    (void)state;
    start_round(LOOPS);
    assert_int_equal(backs, 0); /* never from inside the call that starts it */
    until_back(1);
    assert_int_equal(visits, LOOPS);
    for (size_t i = 1; i < LOOPS; i++)
        assert_true(uv_thread_equal(&seen[i], &loops[i].thread));
    visits = 0;
    start_round(LOOPS);
    until_back(2);
    assert_int_equal(visits, LOOPS);
}

static void round_of_one_loop_comes_back(void **state) {
    (void)state;
    start_round(1);
    assert_int_equal(backs, 0);
    until_back(1);
    assert_int_equal(visits, 1);
}

static void hang(struct task *t, struct loop *l) {
    (void)t;
    (void)l;
    uv_sem_post(&held);
    uv_sem_wait(&go);
}

static void round_does_not_come_back_past_a_loop_that_hangs(void **state) {
    (void)state;
    struct task task = {.run = hang};
    loop_post(&loops[LOOPS - 1], &task);
    uv_sem_wait(&held);
    start_round(LOOPS);
    for (int i = 0; i < 50; i++) {
        uv_run(&loops[0].uv, UV_RUN_NOWAIT);
        uv_sleep(1);
    }
    assert_int_equal(backs, 0);
    uv_sem_post(&go);
    until_back(1);
    assert_int_equal(visits, LOOPS);
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(round_visits_every_loop_on_its_thread_and_comes_back),
        T(round_of_one_loop_comes_back),
        T(round_does_not_come_back_past_a_loop_that_hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
