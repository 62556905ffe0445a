/* Deadlines on a wheel: none is early, near and far ones come in their order, and items go away at any moment. */
#include "provider/wheel.h"

#include "base/attr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ITEMS 5

static struct world {
    uv_loop_t loop;
    uv_prepare_t prepare; /* counts turns: between two of them sockets are looked at */
    struct wheel wheel;
    struct wheel_item items[ITEMS];
    int order[64], told;
    bool early, closed;
    int again;        /* the first item puts itself back so often, due at once */
    bool together;    /* two in one turn of the loop were the same item */
    bool removes;     /* each told item takes the others off */
    unsigned slow_ms; /* each takes so long */
    unsigned turns;
} w;

static int index_of(const struct wheel_item *item) {
    return (int)(item - w.items);
}

static void on_due(struct wheel_item *item) {
    static unsigned last_turn;
    int i = index_of(item);
    uv_sleep(w.slow_ms);
    w.early |= wheel_now_ms() < item->at_ms;
    w.together |= w.told > 0 && w.order[w.told - 1] == i && last_turn == w.turns;
    last_turn = w.turns;
    assert_in_range(w.told, 0, 63);
    w.order[w.told++] = i;
    if (i == 0 && w.again-- > 0)
        wheel_add(&w.wheel, item, 0);
    for (int k = 0; w.removes && k < ITEMS; k++)
        wheel_remove(&w.wheel, &w.items[k]);
}

static void on_prepare(uv_prepare_t *handle) {
    (void)handle;
    w.turns++;
}

static int set_up(void **state) {
    (void)state;
    memset(&w, 0, sizeof(w));
    uv_loop_init(&w.loop);
    uv_prepare_init(&w.loop, &w.prepare);
    uv_prepare_start(&w.prepare, on_prepare);
    uv_unref((uv_handle_t *)&w.prepare);
    wheel_init(&w.wheel, &w.loop, on_due);
    return 0;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

/* Until nothing waits: the wheel keeps the loop alive no longer. */
static void run(void) {
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_int_equal(w.wheel.count, 0);
    assert_false(w.early);
}

static int tear_down(void **state) {
    (void)state;
    uv_close((uv_handle_t *)&w.prepare, NULL);
    wheel_close(&w.wheel, on_closed, &w.closed);
    uv_run(&w.loop, UV_RUN_DEFAULT);
    assert_true(w.closed);
    return uv_loop_close(&w.loop);
}

static void wheel_near_and_far_deadlines_come_in_order(void **state) {
    uint64_t now = wheel_now_ms();
    (void)state;
    wheel_add(&w.wheel, &w.items[4], now + 2 * WHEEL_SLOTS + 40);
    wheel_add(&w.wheel, &w.items[3], now + WHEEL_SLOTS + 10);
    wheel_add(&w.wheel, &w.items[2], now + 90);
    wheel_add(&w.wheel, &w.items[1], now + 30);
    wheel_add(&w.wheel, &w.items[0], now);
    run();
    assert_int_equal(w.told, ITEMS);
    for (int i = 0; i < ITEMS; i++)
        assert_int_equal(w.order[i], i);
    assert_in_range(w.turns, 1, 40); /* it sleeps between them */
}

static void wheel_item_that_waits_waits_anew(void **state) {
    uint64_t now = wheel_now_ms();
    (void)state;
    wheel_add(&w.wheel, &w.items[0], now + 60000);
    wheel_add(&w.wheel, &w.items[1], now + 20);
    wheel_add(&w.wheel, &w.items[0], now + 5);
    run();
    assert_int_equal(w.told, 2);
    assert_int_equal(w.order[0], 0);
}

static void wheel_item_due_at_once_waits_for_the_next_turn(void **state) {
    (void)state;
    w.again = 10;
    w.slow_ms = 3; /* behind time from then on */
    wheel_add(&w.wheel, &w.items[0], 0);
    run();
    assert_int_equal(w.told, 11);
    assert_false(w.together);
}

static void wheel_item_removed_is_not_told(void **state) {
    uint64_t now = wheel_now_ms();
    (void)state;
    for (int i = 0; i < ITEMS; i++)
        wheel_add(&w.wheel, &w.items[i], now + 5 + (uint64_t)(i / 3) * 20);
    wheel_remove(&w.wheel, &w.items[1]);
    wheel_remove(&w.wheel, &w.items[1]);
    w.removes = true; /* the others of its millisecond and the later ones */
    run();
    assert_int_equal(w.told, 1);
    assert_int_equal(w.order[0], 0);
}

static void wheel_that_stood_still_goes_on(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        wheel_add(&w.wheel, &w.items[0], wheel_now_ms() + 2);
        run();
        uv_sleep(WHEEL_SLOTS + 20);
    }
    wheel_add(&w.wheel, &w.items[0], wheel_now_ms() + 2);
    uv_sleep(2 * WHEEL_SLOTS); /* the loop was held up: all is late */
    run();
    assert_int_equal(w.told, 3);
}

#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(wheel_near_and_far_deadlines_come_in_order),
        T(wheel_item_that_waits_waits_anew),
        T(wheel_item_due_at_once_waits_for_the_next_turn),
        T(wheel_item_removed_is_not_told),
        T(wheel_that_stood_still_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
