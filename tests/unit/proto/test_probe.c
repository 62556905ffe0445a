/* ops/probe.h, from a thread of its own, against the operations port on the test's loop and against peers that are
 * none. */
#include "ops/probe.h"

#include "ops/ops.h"
#include "redis_fixture.h"
#include "tokencast/error.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct tc_ops *ops;
static int is_ready;
static bool closed;

struct asked {
    char address[64], said[4096];
    int rc;
    atomic_bool done;
    uv_async_t wake;
};

static int ready(void *arg, struct tc_buf *why) {
    (void)arg;
    tc_buf_puts(why, is_ready ? "redis is up" : "redis is down");
    return is_ready;
}

static void metrics(void *arg, struct tc_ops_scrape *scrape) {
    (void)arg;
    tc_ops_scrape_done(scrape, TC_STR(""));
}

static void on_closed(void *arg) {
    (void)arg;
    closed = true;
}

static int begin(void **state) {
    (void)state;
    static const struct tc_ops_handlers handlers = {.ready = ready, .metrics = metrics};
    signal(SIGPIPE, SIG_IGN);
    is_ready = 1;
    closed = false;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(tc_ops_start(&ops, &loop, "0", &handlers), 0);
    return 0;
}

static int end(void **state) {
    (void)state;
    tc_ops_close(ops, on_closed, NULL);
    redis_loop_end(&loop);
    assert_true(closed);
    return 0;
}

static void on_thread(void *arg) {
    struct asked *a = arg;
    FILE *out = fmemopen(a->said, sizeof(a->said), "w");
    a->rc = tc_ops_probe(a->address, out);
    fclose(out);
    a->done = true;
    uv_async_send(&a->wake);
}

static bool is_done(void *arg) {
    return ((struct asked *)arg)->done;
}

static void on_wake(uv_async_t *wake) {
    (void)wake;
}

/* The loop answers while a thread asks. */
static void expect(const char *address, int rc, const char *said) {
    static struct asked a;
    uv_thread_t thread;
    memset(&a, 0, sizeof(a));
    snprintf(a.address, sizeof(a.address), "%s", address);
    assert_int_equal(uv_async_init(&loop, &a.wake, on_wake), 0);
    assert_int_equal(uv_thread_create(&thread, on_thread, &a), 0);
    redis_run_until_cond(&loop, is_done, &a);
    uv_thread_join(&thread);
    uv_close((uv_handle_t *)&a.wake, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(a.rc, rc);
    if (strstr(a.said, said) == NULL)
        fail_msg("no \"%s\" in \"%s\"", said, a.said);
}

static char *at(const char *host, int port) {
    static char address[64];
    snprintf(address, sizeof(address), "%s%d", host, port);
    return address;
}

/* A port whose owner never accepts: the kernel takes the connection, nobody the question. */
static int silent_port(int *fd) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    *fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&a, &n), 0);
    return ntohs(a.sin_port);
}

static void answer_nonsense(void *arg) {
    int fd = accept(*(int *)arg, NULL, NULL);
    char request[512];
    if (recv(fd, request, sizeof(request), 0) > 0)
        (void)!write(fd, "220 ready\r\n\r\n", 13);
    close(fd);
}

static void probe_of_a_ready_program_is_0(void **state) {
    (void)state;
    expect(at("", tc_ops_port(ops)), 0, "redis is up");
    expect(at("127.0.0.1:", tc_ops_port(ops)), 0, "redis is up");
    expect(at("0.0.0.0:", tc_ops_port(ops)), 0, "redis is up");
    expect(at("localhost:", tc_ops_port(ops)), 0, "redis is up");
}

static void probe_of_a_program_that_is_not_ready_says_why(void **state) {
    (void)state;
    is_ready = 0;
    expect(at("", tc_ops_port(ops)), TC_EAGAIN, "redis is down");
}

static void probe_without_a_program_is_refused(void **state) {
    (void)state;
    int fd, port = silent_port(&fd); /* bound, not listening: no one else gets it */
    expect(at("127.0.0.1:", port), TC_ECONNECT, "cannot connect");
    close(fd);
}

static void probe_of_a_program_that_hangs_ends(void **state) {
    (void)state;
    int fd, port = silent_port(&fd);
    assert_int_equal(listen(fd, 1), 0);
    expect(at("127.0.0.1:", port), TC_ETIMEOUT, "timed out");
    close(fd);
}

static void probe_of_somebody_else_is_no_yes(void **state) {
    (void)state;
    uv_thread_t thread;
    int fd, port = silent_port(&fd);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(uv_thread_create(&thread, answer_nonsense, &fd), 0);
    expect(at("127.0.0.1:", port), TC_EPROTO, "broke the protocol");
    uv_thread_join(&thread);
    close(fd);
}

static void probe_of_any_free_port_is_an_error(void **state) {
    (void)state;
    expect("127.0.0.1:0", TC_EINVAL, "invalid argument");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(probe_of_a_ready_program_is_0, begin, end),
        cmocka_unit_test_setup_teardown(probe_of_a_program_that_is_not_ready_says_why, begin, end),
        cmocka_unit_test_setup_teardown(probe_without_a_program_is_refused, begin, end),
        cmocka_unit_test_setup_teardown(probe_of_a_program_that_hangs_ends, begin, end),
        cmocka_unit_test_setup_teardown(probe_of_somebody_else_is_no_yes, begin, end),
        cmocka_unit_test_setup_teardown(probe_of_any_free_port_is_an_error, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
