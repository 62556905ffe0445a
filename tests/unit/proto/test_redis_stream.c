/* redis/stream.h where names are involved: this program answers getaddrinfo itself. */
#include "redis/stream.h"

#include "redis_fake.h"
#include "redis_fixture.h"
#include "tokencast/error.h"

#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- names: the fake listens on 127.0.0.1 alone, so that 127.0.0.2 refuses ---- */

static struct addrinfo *address(const char *ip, const char *port, struct addrinfo *next) {
    struct addrinfo *ai = calloc(1, sizeof(*ai) + sizeof(struct sockaddr_in));
    ai->ai_family = AF_INET;
    ai->ai_socktype = SOCK_STREAM;
    ai->ai_addrlen = sizeof(struct sockaddr_in);
    ai->ai_addr = (struct sockaddr *)(ai + 1);
    uv_ip4_addr(ip, (int)strtol(port, NULL, 10), (struct sockaddr_in *)ai->ai_addr);
    ai->ai_next = next;
    return ai;
}

/* Runs on a thread of libuv's pool. */
int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **out) {
    (void)hints;
    if (strcmp(name, "slow.test") == 0)
        (void)poll(NULL, 0, 100);
    else if (strcmp(name, "none.test") == 0)
        return EAI_NONAME;
    struct addrinfo *last = strcmp(name, "dead.test") == 0 ? NULL : address("127.0.0.1", port, NULL);
    *out = address("127.0.0.2", port, address("127.0.0.3", port, last));
    return 0;
}

void freeaddrinfo(struct addrinfo *ai) {
    while (ai) {
        struct addrinfo *next = ai->ai_next;
        free(ai);
        ai = next;
    }
}

/* ---- one stream ---- */

struct seen {
    int opens, losses, err;
    bool done, closed; /* done: opened or lost */
};

static uv_loop_t loop;
static struct redis_fake fake;
static struct tc_stream stream;
static struct seen seen;
static struct tc_endpoint at;

static void on_open(void *arg) {
    struct seen *s = arg;
    s->opens++;
    s->done = true;
}

static void on_data(void *arg, const char *p, size_t n) {
    (void)arg, (void)p, (void)n;
}

static void on_lost(void *arg, int err, const char *why) {
    struct seen *s = arg;
    assert_non_null(why);
    s->losses++;
    s->err = err;
    s->done = true;
}

static void on_closed(void *arg) {
    struct seen *s = arg;
    assert_false(s->closed);
    s->closed = true;
}

static int begin(void **state) {
    (void)state;
    memset(&fake, 0, sizeof(fake));
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(uv_loop_init(&loop), 0);
    redis_fake_start(&fake, &loop);
    return 0;
}

static int end(void **state) {
    (void)state;
    redis_fake_stop(&fake);
    redis_loop_end(&loop);
    return 0;
}

static void open_to(const char *host, unsigned rotate) {
    static const struct tc_stream_events ev = {on_open, on_data, on_lost, &seen};
    memset(&at, 0, sizeof(at));
    memcpy(at.host, host, strlen(host));
    at.port = fake.port;
    const struct tc_stream_target target = {.at = &at, .rotate = rotate};
    tc_stream_open(&stream, &loop, &target, &ev);
}

static void close_stream(void) {
    tc_stream_close(&stream, on_closed);
    assert_false(seen.closed);
    redis_run_until(&loop, &seen.closed);
}

static void addresses_are_tried_until_one_answers(void **state) {
    (void)state;
    for (unsigned rotate = 0; rotate < 4; rotate++) {
        memset(&seen, 0, sizeof(seen));
        open_to("three.test", rotate);
        redis_run_until(&loop, &seen.done);
        assert_int_equal(seen.opens, 1);
        assert_int_equal(seen.losses, 0);
        close_stream();
    }
}

static void no_address_that_answers_is_one_loss(void **state) {
    (void)state;
    open_to("dead.test", 0);
    redis_run_until(&loop, &seen.done);
    assert_int_equal(seen.losses, 1);
    assert_int_equal(seen.err, TC_ECONNECT);
    close_stream();
}

static void name_without_address_is_a_loss(void **state) {
    (void)state;
    open_to("none.test", 0);
    redis_run_until(&loop, &seen.done);
    assert_int_equal(seen.err, TC_ECONNECT);
    close_stream();
}

static void close_while_a_name_is_looked_up_waits_for_it(void **state) {
    (void)state;
    open_to("slow.test", 0);
    redis_run_for(&loop, 20); /* the thread is in getaddrinfo: too late to cancel */
    close_stream();
    assert_int_equal(seen.opens + seen.losses, 0);
}

static void close_at_every_turn_of_a_search_ends_clean(void **state) {
    (void)state;
    for (int turns = 0; turns < 30; turns++) {
        memset(&seen, 0, sizeof(seen));
        open_to("three.test", 0);
        for (int i = 0; i < turns; i++) {
            uv_run(&loop, UV_RUN_NOWAIT);
            if (turns % 2)
                (void)poll(NULL, 0, 1);
        }
        close_stream();
    }
}

/* Between the refusal of one address and the try of the next the socket is closing by itself. */
static void on_check(uv_check_t *check) {
    if (!stream.sock_live || !uv_is_closing(&stream.sock.handle))
        return;
    tc_stream_close(&stream, on_closed);
    uv_close((uv_handle_t *)check, NULL);
}

static void close_between_two_addresses_ends_clean(void **state) {
    (void)state;
    uv_check_t check;
    uv_check_init(&loop, &check);
    uv_check_start(&check, on_check);
    open_to("three.test", 0);
    redis_run_until(&loop, &seen.closed);
    assert_int_equal(seen.opens + seen.losses, 0);
}

static void stream_is_opened_again_after_its_close(void **state) {
    (void)state;
    for (int i = 0; i < 3; i++) {
        memset(&seen, 0, sizeof(seen));
        open_to("127.0.0.1", 0);
        redis_run_until(&loop, &seen.done);
        assert_int_equal(seen.opens, 1);
        assert_int_equal(tc_stream_pending(&stream), 0);
        tc_buf_puts(tc_stream_out(&stream), "*1\r\n$4\r\nPING\r\n");
        assert_int_equal(tc_stream_pending(&stream), 14);
        tc_stream_kick(&stream);
        redis_run_for(&loop, 5);
        assert_int_equal(tc_stream_pending(&stream), 0);
        close_stream();
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(addresses_are_tried_until_one_answers),
        TEST(no_address_that_answers_is_one_loss),
        TEST(name_without_address_is_a_loss),
        TEST(close_while_a_name_is_looked_up_waits_for_it),
        TEST(close_at_every_turn_of_a_search_ends_clean),
        TEST(close_between_two_addresses_ends_clean),
        TEST(stream_is_opened_again_after_its_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
