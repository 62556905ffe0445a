/* ops/ops.h with raw sockets against the test's own loop. */
#include "ops/ops.h"

#include "redis_fixture.h"
#include "tokencast/error.h"

#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct tc_ops *ops;
static int is_ready;
static struct tc_ops_scrape *held; /* a scrape that was not answered yet */
static bool hold;
static unsigned asked; /* for /livez, of an owner that looks before it answers */
static bool closed;

static int ready(void *arg, struct tc_buf *why) {
    assert_ptr_equal(arg, &loop);
    tc_buf_puts(why, is_ready ? "redis is up" : "redis is down");
    return is_ready;
}

static void metrics(void *arg, struct tc_ops_scrape *scrape) {
    (void)arg;
    if (hold)
        held = scrape;
    else
        tc_ops_scrape_done(scrape, TC_STR("tokencast_up 1\n"));
}

static void live(void *arg) {
    assert_ptr_equal(arg, &loop);
    asked++;
    if (!hold)
        tc_ops_alive(ops);
}

static const struct tc_ops_handlers handlers = {.ready = ready, .metrics = metrics, .arg = &loop};
static const struct tc_ops_handlers looking = {.ready = ready, .live = live, .metrics = metrics, .arg = &loop};

static void on_closed(void *arg) {
    (void)arg;
    closed = true;
}

static int begin_with(const struct tc_ops_handlers *h) {
    signal(SIGPIPE, SIG_IGN);
    is_ready = 1;
    held = NULL;
    asked = 0;
    hold = closed = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(tc_ops_start(&ops, &loop, "127.0.0.1:0", h), 0);
    assert_true(tc_ops_port(ops) > 0);
    return 0;
}

static int begin(void **state) {
    (void)state;
    return begin_with(&handlers);
}

static int begin_looking(void **state) {
    (void)state;
    return begin_with(&looking);
}

static int end(void **state) {
    (void)state;
    if (ops)
        tc_ops_close(ops, on_closed, NULL);
    redis_loop_end(&loop);
    assert_true(closed);
    ops = NULL;
    return 0;
}

/* ---- a raw client ---- */

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)tc_ops_port(ops)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

struct client {
    int fd;
    char got[65536];
    size_t n;
    bool ended; /* FIN or RST */
    const char *until;
};

static bool has_got(void *arg) {
    struct client *c = arg;
    ssize_t n = recv(c->fd, c->got + c->n, sizeof(c->got) - 1 - c->n, MSG_DONTWAIT);
    if (n > 0)
        c->n += (size_t)n;
    else if (n == 0 || (errno != EAGAIN && errno != EINTR))
        c->ended = true;
    c->got[c->n] = '\0';
    if (c->until)
        return strstr(c->got, c->until) != NULL;
    return c->ended;
}

/* Runs the loop until `until` was received, or with NULL until the server ended the connection. */
static void await(struct client *c, const char *until) {
    c->until = until;
    redis_run_until_cond(&loop, has_got, c);
}

static void say(struct client *c, const char *text) {
    assert_int_equal(send(c->fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static struct client *open_client(void) {
    struct client *c = calloc(1, sizeof(*c));
    c->fd = dial();
    return c;
}

static void close_client(struct client *c) {
    close(c->fd);
    free(c);
}

/* One request on a connection of its own; `answer` must be in what comes back. */
static void expect(const char *request, const char *answer) {
    struct client *c = open_client();
    say(c, request);
    await(c, NULL);
    if (!strstr(c->got, answer))
        fail_msg("no \"%s\" in \"%s\"", answer, c->got);
    close_client(c);
}

/* ---- tests ---- */

static void livez_without_anything_to_look_at_is_always_ok(void **state) {
    (void)state;
    is_ready = 0;
    expect("GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    expect("GET /livez?verbose=1 HTTP/1.0\r\n\r\n", "\r\n\r\nok\n");
}

static void livez_is_asked_of_the_owner_each_time(void **state) {
    (void)state;
    expect("GET /livez HTTP/1.0\r\n\r\n", "\r\n\r\nok\n");
    expect("GET /livez HTTP/1.0\r\n\r\n", "Content-Type: text/plain; charset=utf-8\r\n");
    assert_int_equal(asked, 2);
}

static void readyz_tells_why(void **state) {
    (void)state;
    expect("GET /readyz HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n");
    is_ready = 0;
    expect("GET /readyz HTTP/1.0\r\n\r\n", "HTTP/1.1 503 Service Unavailable\r\n");
    expect("GET /readyz HTTP/1.0\r\n\r\n", "\r\n\r\nredis is down\n");
}

static void metrics_answered_at_once(void **state) {
    (void)state;
    expect("GET /metrics HTTP/1.0\r\n\r\n", "\r\n\r\ntokencast_up 1\n");
    expect("GET /metrics HTTP/1.0\r\n\r\n", "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
}

static bool is_held(void *arg) {
    (void)arg;
    return held != NULL;
}

static void metrics_answered_later(void **state) {
    (void)state;
    hold = true;
    struct client *c = open_client();
    say(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    redis_run_until_cond(&loop, is_held, NULL);
    redis_run_for(&loop, 20);
    assert_int_equal(c->n, 0);
    tc_ops_scrape_done(held, TC_STR("late 1\n"));
    await(c, "\r\n\r\nlate 1\n");
    close_client(c);
}

static bool has_asked(void *arg) {
    return asked >= *(unsigned *)arg;
}

/* A client whose /livez is the nth and waits. */
static struct client *open_waiting(unsigned nth) {
    hold = true;
    struct client *c = open_client();
    say(c, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    redis_run_until_cond(&loop, has_asked, &nth);
    return c;
}

static void livez_waits_until_the_owner_lives(void **state) {
    (void)state;
    struct client *c[] = {open_waiting(1), open_waiting(2)};
    expect("GET /readyz HTTP/1.0\r\n\r\n", "200 OK"); /* others are answered meanwhile */
    for (int i = 0; i < 2; i++) {
        assert_false(has_got(c[i]));
        assert_int_equal(c[i]->n, 0);
    }
    tc_ops_alive(ops);
    for (int i = 0; i < 2; i++)
        await(c[i], "\r\n\r\nok\n");
    c[0]->n = 0;
    say(c[0], "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"); /* on the same connection, and it waits again */
    redis_run_for(&loop, 20);
    assert_false(has_got(c[0]));
    assert_int_equal(c[0]->n, 0);
    tc_ops_alive(ops);
    tc_ops_alive(ops); /* nobody waits any more */
    await(c[0], "\r\n\r\nok\n");
    redis_run_for(&loop, 20);
    has_got(c[0]);
    assert_string_equal(strstr(c[0]->got, "ok\n"), "ok\n");
    for (int i = 0; i < 2; i++)
        close_client(c[i]);
}

static void livez_of_an_owner_that_hangs_is_closed_without_an_answer(void **state) {
    (void)state;
    struct client *c = open_waiting(1);
    await(c, NULL);
    assert_int_equal(c->n, 0);
    tc_ops_alive(ops);
    close_client(c);
}

static void peer_that_leaves_a_livez_is_forgotten(void **state) {
    (void)state;
    struct client *c = open_waiting(1);
    struct linger reset = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close_client(c);
    redis_run_for(&loop, 20);
    tc_ops_alive(ops); /* fails to write */
    tc_ops_alive(ops); /* in its closing */
    redis_run_for(&loop, 20);
    tc_ops_alive(ops);
    expect("GET /readyz HTTP/1.0\r\n\r\n", "200 OK");
}

static void close_with_a_livez_under_way_ends_clean(void **state) {
    (void)state;
    struct client *c = open_waiting(1);
    tc_ops_close(ops, on_closed, NULL);
    ops = NULL;
    redis_run_until(&loop, &closed);
    await(c, NULL);
    assert_int_equal(c->n, 0);
    close_client(c);
}

static void head_has_the_length_and_no_body(void **state) {
    (void)state;
    struct client *c = open_client();
    say(c, "HEAD /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    await(c, NULL);
    assert_non_null(strstr(c->got, "Content-Length: 3\r\n"));
    assert_string_equal(c->got + c->n - 4, "\r\n\r\n");
    close_client(c);
}

static void anything_else_is_refused(void **state) {
    (void)state;
    expect("GET / HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    expect("GET /livezz HTTP/1.0\r\n\r\n", "HTTP/1.1 404 ");
    expect("POST /livez HTTP/1.0\r\nContent-Length: 2\r\n\r\nab", "HTTP/1.1 405 ");
    expect("DELETE /metrics HTTP/1.0\r\n\r\n", "Allow: GET, HEAD\r\n");
    expect("nonsense\r\n\r\n", "HTTP/1.1 400 ");
    expect("GET /livez HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", "HTTP/1.1 200 ");
}

static void target_of_any_length_is_only_unknown(void **state) {
    (void)state;
    char request[8192];
    for (size_t n = 100; n < 7000; n = n < 140 ? n + 1 : n * 2) {
        char path[7001];
        memset(path, 'a', n);
        path[n] = '\0';
        snprintf(request, sizeof(request), "GET /%s HTTP/1.0\r\n\r\n", path);
        expect(request, "HTTP/1.1 404 ");
    }
}

static void request_larger_than_the_limit_is_refused(void **state) {
    (void)state;
    char *request = malloc(100000);
    memset(request, 'a', 100000);
    memcpy(request, "GET /livez HTTP/1.1\r\nX: ", 24);
    request[99999] = '\0';
    struct client *c = open_client();
    say(c, request); /* far more than is read */
    await(c, "HTTP/1.1 431 ");
    shutdown(c->fd, SHUT_WR);
    await(c, NULL);
    close_client(c);

    memcpy(request, "POST /livez HTTP/1.1\r\nContent-Length: 90000\r\n\r\n", 47); /* a body counts, too */
    c = open_client();
    say(c, request);
    await(c, "HTTP/1.1 431 ");
    close_client(c);
    free(request);
}

static void requests_in_pieces_and_pipelined_are_answered_in_order(void **state) {
    (void)state;
    static const char two[] = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for (size_t cut = 1; cut < sizeof(two) - 1; cut += 3) {
        struct client *c = open_client();
        assert_int_equal(send(c->fd, two, cut, 0), (ssize_t)cut);
        redis_run_for(&loop, 3);
        say(c, two + cut);
        await(c, "tokencast_up 1\n");
        char *first = strstr(c->got, "redis is up\n");
        assert_non_null(first);
        assert_true(first < strstr(c->got, "tokencast_up"));
        close_client(c);
    }
}

static void long_pipeline_is_answered_whole(void **state) {
    (void)state;
    struct client *c = open_client();
    for (int i = 0; i < 200; i++)
        say(c, "GET /livez HTTP/1.1\r\n\r\n");
    say(c, "GET /readyz HTTP/1.1\r\nConnection: close\r\n\r\n");
    await(c, NULL);
    int answers = 0;
    for (char *at = c->got; (at = strstr(at, "HTTP/1.1 200")); at++)
        answers++;
    assert_int_equal(answers, 201);
    close_client(c);
}

static void peer_that_leaves_a_scrape_is_forgotten(void **state) {
    (void)state;
    hold = true;
    struct client *c = open_client();
    say(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    redis_run_until_cond(&loop, is_held, NULL);
    struct linger reset = {1, 0};
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    close_client(c);
    redis_run_for(&loop, 20);
    tc_ops_scrape_done(held, TC_STR("for nobody\n"));
    expect("GET /livez HTTP/1.0\r\n\r\n", "200 OK");
}

static void close_with_a_scrape_under_way_is_answered_after(void **state) {
    (void)state;
    hold = true;
    struct client *c = open_client();
    say(c, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    redis_run_until_cond(&loop, is_held, NULL);
    tc_ops_close(ops, on_closed, NULL);
    ops = NULL;
    redis_run_until(&loop, &closed);
    tc_ops_scrape_done(held, TC_STR("too late\n")); /* the port's memory is gone, the scrape's is not */
    await(c, NULL);
    close_client(c);
}

static void more_connections_than_allowed_wait(void **state) {
    (void)state;
    enum { ALLOWED = 64, MORE = 80 };
    struct client *c[MORE];
    for (int i = 0; i < MORE; i++) {
        c[i] = open_client();
        say(c[i], "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    for (int i = 0; i < ALLOWED; i++)
        await(c[i], "ok\n");
    for (int i = ALLOWED; i < MORE; i++) {
        redis_run_for(&loop, 2);
        assert_false(has_got(c[i]));
        assert_int_equal(c[i]->n, 0);
    }
    for (int i = 0; i < ALLOWED; i++)
        close_client(c[i]);
    for (int i = ALLOWED; i < MORE; i++) {
        await(c[i], "ok\n");
        close_client(c[i]);
    }
}

static void close_at_every_turn_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct client *c = open_client();
        say(c, turns % 2 ? "GET /livez HTTP/1.1\r\nHo" : "GET /livez HTTP/1.0\r\n\r\n");
        for (int i = 0; i < turns; i++)
            uv_run(&loop, UV_RUN_NOWAIT);
        closed = false;
        tc_ops_close(ops, on_closed, NULL);
        redis_run_until(&loop, &closed);
        close_client(c);
        assert_int_equal(tc_ops_start(&ops, &loop, "127.0.0.1:0", &handlers), 0);
    }
}

static void silent_and_slow_peers_are_closed(void **state) {
    (void)state;
    static const char *const says[] = {"", "GET /livez HT", "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"};
    struct client *c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = open_client();
        say(c[i], says[i]);
    }
    for (int i = 0; i < 3; i++) { /* the last one's answer first, then its keep-alive ends */
        await(c[i], NULL);
        close_client(c[i]);
    }
}

static void port_in_use_or_malformed_is_an_error(void **state) {
    (void)state;
    struct tc_ops *other = NULL;
    char address[64];
    snprintf(address, sizeof(address), "127.0.0.1:%d", tc_ops_port(ops));
    assert_int_equal(tc_ops_start(&other, &loop, address, &handlers), TC_EIO);
    assert_int_equal(tc_ops_start(&other, &loop, "nonsense:x", &handlers), TC_EINVAL);
    assert_null(other);
}

static void names_and_bare_ports_are_listened_on(void **state) {
    (void)state;
    static const char *const addresses[] = {"localhost:0", "0", "[::1]:0"};
    for (size_t i = 0; i < 3; i++) {
        struct tc_ops *other = NULL;
        int rc = tc_ops_start(&other, &loop, addresses[i], &handlers);
        if (rc && i == 2)
            continue; /* a machine without IPv6 */
        assert_int_equal(rc, 0);
        assert_true(tc_ops_port(other) > 0);
        tc_ops_close(other, NULL, NULL);
    }
}

#define TEST(f)    cmocka_unit_test_setup_teardown(f, begin, end)
#define LOOKING(f) cmocka_unit_test_setup_teardown(f, begin_looking, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(livez_without_anything_to_look_at_is_always_ok),
        LOOKING(livez_is_asked_of_the_owner_each_time),
        TEST(readyz_tells_why),
        TEST(metrics_answered_at_once),
        TEST(metrics_answered_later),
        LOOKING(livez_waits_until_the_owner_lives),
        LOOKING(livez_of_an_owner_that_hangs_is_closed_without_an_answer),
        LOOKING(peer_that_leaves_a_livez_is_forgotten),
        LOOKING(close_with_a_livez_under_way_ends_clean),
        TEST(head_has_the_length_and_no_body),
        TEST(anything_else_is_refused),
        TEST(target_of_any_length_is_only_unknown),
        TEST(request_larger_than_the_limit_is_refused),
        TEST(requests_in_pieces_and_pipelined_are_answered_in_order),
        TEST(long_pipeline_is_answered_whole),
        TEST(peer_that_leaves_a_scrape_is_forgotten),
        TEST(close_with_a_scrape_under_way_is_answered_after),
        TEST(more_connections_than_allowed_wait),
        TEST(close_at_every_turn_ends_clean),
        TEST(silent_and_slow_peers_are_closed),
        TEST(port_in_use_or_malformed_is_an_error),
        TEST(names_and_bare_ports_are_listened_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
