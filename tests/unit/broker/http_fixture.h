/* A server on a loop of its own, its clients, and how a test waits for them. What the handler does: http_routes.h. */
#ifndef TESTS_BROKER_HTTP_FIXTURE_H
#define TESTS_BROKER_HTTP_FIXTURE_H

#include "http_client.h"
#include "http_routes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <tokencast/error.h>

#include <cmocka.h>

#define HOST     "Host: a.example\r\n"
#define HANG_SEC 20

static inline void step(struct fixture *f) {
    const struct timespec pause = {.tv_nsec = 200000};
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 4; i++)
        http_client_poll(&f->clients[i]);
    (void)nanosleep(&pause, NULL);
}

/* Runs the loop until cond holds; a hang fails. */
#define UNTIL(f, cond)                                                                                                 \
    do {                                                                                                               \
        uint64_t until_ = uv_hrtime() + HANG_SEC * UINT64_C(1000000000);                                               \
        while (!(cond)) {                                                                                              \
            if (uv_hrtime() > until_)                                                                                  \
                fail_msg("hang: %s", #cond);                                                                           \
            step(f);                                                                                                   \
        }                                                                                                              \
    } while (0)

static inline int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    f->big = malloc(BIG);
    assert_non_null(f->big);
    for (size_t i = 0; i < BIG; i++)
        f->big[i] = (char)('a' + i % 23);
    f->opts = (struct http_options){.listen = "127.0.0.1:0",
                                    .max_connections = 100,
                                    .max_header_bytes = 2048,
                                    .max_body_bytes = 4096,
                                    .header_timeout_ms = 60000,
                                    .body_timeout_ms = 60000,
                                    .keepalive_ms = 60000,
                                    .user_timeout_ms = 30000,
                                    .notsent_lowat = 16384};
    for (int i = 0; i < 4; i++)
        f->clients[i].fd = -1;
    *state = f;
    return 0;
}

static inline void fixture_start(struct fixture *f) {
    assert_int_equal(http_server_create(&f->server, &f->loop, &f->opts, on_fixture_request, f), 0);
    assert_true(http_server_port(f->server) > 0);
}

static inline struct http_client *fixture_client(struct fixture *f, int i) {
    http_client_open(&f->clients[i], http_server_port(f->server));
    return &f->clients[i];
}

static inline void fixture_close(struct fixture *f) {
    http_server_close(f->server, on_closed_flag, &f->closed);
    UNTIL(f, f->closed);
    f->server = NULL;
}

/* Every test ends with an empty loop. */
static inline int fixture_teardown(void **state) {
    struct fixture *f = *state;
    for (int i = 0; i < 4; i++)
        http_client_close(&f->clients[i]);
    if (f->server && !f->closed)
        fixture_close(f);
    assert_int_equal(uv_run(&f->loop, UV_RUN_NOWAIT), 0);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    free(f->big);
    free(f);
    return 0;
}

/* Waits for an answer, checks status and body (NULL: any), and consumes it. */
static inline void expect_answer(struct fixture *f, struct http_client *c, int status, const char *body) {
    int got = 0;
    struct tc_str text;
    size_t length;
    UNTIL(f, http_client_answer(c, false, &got, &text, &length) || http_client_over(c));
    assert_true(http_client_answer(c, false, &got, &text, &length));
    assert_int_equal(got, status);
    if (body)
        assert_true(tc_str_is(text, body));
    http_client_drop(c, length);
}

/* The same for an answer after which the server closes. */
static inline void expect_last_answer(struct fixture *f, struct http_client *c, int status) {
    UNTIL(f, http_client_over(c));
    assert_true(c->eof);
    assert_true(http_client_has(c, "Connection: close\r\n"));
    expect_answer(f, c, status, NULL);
    assert_int_equal(c->n, 0);
}

#endif
