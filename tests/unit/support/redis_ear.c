/* See redis_ear.h. */
#include "redis_ear.h"

#include "redis_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

static void on_message(void *arg, struct tc_str payload) {
    struct redis_ear *ear = arg;
    assert_true(ear->ready > 0); /* never before on_ready */
    ear->messages++;
    snprintf(ear->last, sizeof(ear->last), "%.*s", (int)payload.n, payload.p);
    if (ear->then)
        ear->then(ear);
}

static void on_ready(void *arg) {
    struct redis_ear *ear = arg;
    ear->ready++;
    if (ear->on_ready)
        ear->on_ready(ear);
}

void redis_ear_listen(struct tc_redis *r, struct redis_ear *ear, const char *channel) {
    ear->sub.on_message = on_message;
    ear->sub.on_ready = on_ready;
    ear->sub.arg = ear;
    int before = ear->ready;
    assert_int_equal(tc_redis_subscribe(r, &ear->sub, channel), 0);
    assert_int_equal(ear->ready, before); /* later, never from the call */
}

struct want {
    const int *n;
    int at_least;
};

static bool is_enough(void *arg) {
    struct want *w = arg;
    return *w->n >= w->at_least;
}

void redis_ear_await(uv_loop_t *loop, const int *n, int at_least) {
    struct want w = {n, at_least};
    redis_run_until_cond(loop, is_enough, &w);
}
