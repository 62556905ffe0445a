/* Deadlines: none early, all told, in any mixture, and no timer left running. */
#include "http/wait.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 6

struct fixture {
    uv_loop_t loop;
    struct waits waits;
    struct wait w[COUNT];
    uint64_t over_at[COUNT];
    int over, closed;
    bool renew; /* the first that is over waits again, and takes the next one off */
};

static struct fixture *current;

static void on_over(struct wait *w) {
    struct fixture *f = current;
    f->over_at[w - f->w] = uv_now(&f->loop);
    f->over++;
    assert_false(tc_list_linked(&w->node));
    if (!f->renew)
        return;
    f->renew = false;
    waits_set(&f->waits, w, WAIT_HEADER);
    waits_clear(&f->w[1]);
}

static void on_closed(void *arg) {
    ((struct fixture *)arg)->closed++;
}

/* Runs until nothing is active: a tick that went on would hang, which fails. */
static void run_out(struct fixture *f) {
    uint64_t until = uv_hrtime() + 20 * UINT64_C(1000000000);
    while (uv_run(&f->loop, UV_RUN_ONCE) != 0)
        assert_true(uv_hrtime() < until);
}

static int setup(void **state) {
    static struct fixture f;
    const uint64_t lengths[WAIT_KINDS] = {[WAIT_HEADER] = 300, [WAIT_BODY] = 700, [WAIT_IDLE] = 10};
    memset(&f, 0, sizeof(f));
    current = &f;
    assert_int_equal(uv_loop_init(&f.loop), 0);
    waits_start(&f.waits, &f.loop, lengths, on_over);
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;
    if (f->waits.open)
        waits_close(&f->waits, on_closed, f);
    run_out(f);
    assert_int_equal(f->closed, 1);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    return 0;
}

static void wait_is_over_after_its_time_and_the_timer_stops(void **state) {
    struct fixture *f = *state;
    uint64_t deadline[COUNT];
    for (int i = 0; i < COUNT; i++) {
        waits_set(&f->waits, &f->w[i], (enum wait_kind)(i % 3));
        deadline[i] = f->w[i].deadline;
    }
    run_out(f);
    assert_int_equal(f->over, COUNT);
    for (int i = 0; i < COUNT; i++)
        assert_true(f->over_at[i] >= deadline[i]);
}

static void wait_cleared_or_set_again_is_over_once(void **state) {
    struct fixture *f = *state;
    waits_set(&f->waits, &f->w[0], WAIT_IDLE);
    waits_set(&f->waits, &f->w[0], WAIT_BODY);
    waits_set(&f->waits, &f->w[1], WAIT_HEADER);
    waits_clear(&f->w[1]);
    waits_clear(&f->w[1]);
    uint64_t deadline = f->w[0].deadline;
    run_out(f);
    assert_int_equal(f->over, 1);
    assert_true(f->over_at[0] >= deadline);
}

static void wait_changed_from_its_own_callback_is_safe(void **state) {
    struct fixture *f = *state;
    f->renew = true;
    for (int i = 0; i < 3; i++)
        waits_set(&f->waits, &f->w[i], WAIT_IDLE);
    run_out(f);
    assert_int_equal(f->over, 3); /* the first twice, the second never, the third */
    assert_int_equal(f->over_at[1], 0);
}

static void wait_set_after_close_does_nothing(void **state) {
    struct fixture *f = *state;
    waits_set(&f->waits, &f->w[0], WAIT_IDLE);
    waits_close(&f->waits, on_closed, f);
    waits_set(&f->waits, &f->w[1], WAIT_IDLE);
    assert_false(tc_list_linked(&f->w[1].node));
    run_out(f);
    assert_int_equal(f->over, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(wait_is_over_after_its_time_and_the_timer_stops),
        TEST(wait_cleared_or_set_again_is_over_once),
        TEST(wait_changed_from_its_own_callback_is_safe),
        TEST(wait_set_after_close_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
