/* ops/notify.h against a supervisor's socket that the test reads. */
#include "ops/notify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static uv_loop_t loop;
static struct tc_notify notify;
static int ear; /* the supervisor's socket */
static char dir[] = "/tmp/tc-notify-XXXXXX", path[64];
static unsigned ticks;
static bool alive; /* a tick finds the process so */

static void on_tick(void *arg) {
    assert_ptr_equal(arg, &notify);
    ticks++;
    if (alive)
        tc_notify_alive(&notify);
}

static void listen_at(const char *name, size_t len) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    memcpy(a.sun_path, name, len);
    ear = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(ear, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)), 0);
}

static int begin(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/tc-notify-XXXXXX");
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/socket", dir);
    listen_at(path, strlen(path));
    setenv("NOTIFY_SOCKET", path, 1);
    unsetenv("WATCHDOG_USEC");
    unsetenv("WATCHDOG_PID");
    ticks = 0;
    alive = true;
    memset(&notify, 0, sizeof notify);
    assert_int_equal(uv_loop_init(&loop), 0);
    return 0;
}

static int end(void **state) {
    (void)state;
    tc_notify_close(&notify);
    uv_run(&loop, UV_RUN_DEFAULT); /* nothing but the closed timer is left: returns */
    assert_int_equal(uv_loop_close(&loop), 0);
    close(ear);
    unlink(path);
    rmdir(dir);
    return 0;
}

static void start(void) {
    tc_notify_start(&notify, &loop, on_tick, &notify);
}

static void restart(void) {
    if (notify.on_tick != NULL)
        tc_notify_close(&notify);
    uv_run(&loop, UV_RUN_NOWAIT);
    start();
}

/* The next datagram, "" without one. */
static const char *heard(void) {
    static char text[1024];
    ssize_t n = recv(ear, text, sizeof text - 1, 0);
    assert_true(n >= 0 || errno == EAGAIN);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* At least so many ticks more; the timer itself bounds the time. */
static void run_ticks(unsigned count) {
    unsigned until = ticks + count;
    while (ticks < until)
        uv_run(&loop, UV_RUN_ONCE);
}

static void notify_states_are_told(void **state) {
    (void)state;
    start();
    tc_notify_ready(&notify);
    assert_string_equal(heard(), "READY=1\n");
    tc_notify_status(&notify, "redis is down");
    assert_string_equal(heard(), "STATUS=redis is down\n");
    tc_notify_status(&notify, "redis is down");
    assert_string_equal(heard(), "");
    tc_notify_stopping(&notify, 20000);
    assert_string_equal(heard(), "STOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\n");
}

static void notify_abstract_socket_is_reached(void **state) {
    (void)state;
    char name[64];
    int len = snprintf(name, sizeof name, "@tc-notify-%ld", (long)getpid());
    setenv("NOTIFY_SOCKET", name, 1);
    close(ear);
    name[0] = '\0';
    listen_at(name, (size_t)len);
    start();
    tc_notify_ready(&notify);
    assert_string_equal(heard(), "READY=1\n");
}

static void notify_variables_are_taken_from_the_environment(void **state) {
    (void)state;
    setenv("WATCHDOG_USEC", "30000000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    start();
    assert_null(getenv("NOTIFY_SOCKET"));
    assert_null(getenv("WATCHDOG_USEC"));
    assert_null(getenv("WATCHDOG_PID"));
}

static void notify_without_supervisor_says_nothing(void **state) {
    (void)state;
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "4000", 1);
    start();
    tc_notify_ready(&notify);
    tc_notify_alive(&notify);
    assert_string_equal(heard(), "");
    assert_int_equal(uv_loop_alive(&loop), 0); /* and nothing ticks */
}

static void notify_bad_address_is_no_supervisor(void **state) {
    (void)state;
    char longest[200];
    memset(longest, 'x', sizeof longest);
    longest[0] = '/';
    longest[sizeof longest - 1] = '\0';
    const char *const bad[] = {"relative/path", "vsock:2:1", "/", "@", longest};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("NOTIFY_SOCKET", bad[i], 1);
        restart();
        assert_int_equal(notify.fd, -1);
        assert_int_equal(uv_loop_alive(&loop), 0);
    }
}

static void notify_watchdog_is_fed_while_the_owner_is_alive(void **state) {
    (void)state;
    char pid[24];
    snprintf(pid, sizeof pid, "%ld", (long)getpid());
    setenv("WATCHDOG_USEC", "40000", 1);
    setenv("WATCHDOG_PID", pid, 1);
    start();
    assert_int_equal(notify.tick_ms, 10);
    run_ticks(1);
    assert_string_equal(heard(), "WATCHDOG=1\n");
    alive = false;
    while (heard()[0] != '\0')
        continue; /* two ticks may have fitted into one turn of the loop */
    run_ticks(3);
    assert_string_equal(heard(), "");
    alive = true;
    run_ticks(1);
    assert_string_equal(heard(), "WATCHDOG=1\n");
}

static void notify_long_watchdog_ticks_every_second(void **state) {
    (void)state;
    setenv("WATCHDOG_USEC", "3600000000", 1);
    start();
    assert_true(notify.watched);
    assert_int_equal(notify.tick_ms, 1000);
}

static void notify_watchdog_of_another_process_is_not_fed(void **state) {
    (void)state;
    setenv("WATCHDOG_USEC", "40000", 1);
    setenv("WATCHDOG_PID", "1", 1);
    start();
    run_ticks(1);
    assert_string_equal(heard(), "");
}

static void notify_bad_watchdog_time_is_no_watchdog(void **state) {
    (void)state;
    const char *const bad[] = {"", "0", "-1", "soon", "1s", "99999999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        setenv("NOTIFY_SOCKET", path, 1);
        setenv("WATCHDOG_USEC", bad[i], 1);
        restart();
        assert_false(notify.watched);
    }
}

/* The kernel keeps only some datagrams for who does not read. */
static void fill(void) {
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof a.sun_path, "%s", path);
    while (sendto(fd, "X", 1, 0, (struct sockaddr *)&a, sizeof a) == 1)
        continue;
    assert_int_equal(errno, EAGAIN);
    close(fd);
}

static void notify_full_queue_is_told_later_and_only_the_newest(void **state) {
    (void)state;
    setenv("WATCHDOG_USEC", "40000", 1);
    start();
    fill();
    tc_notify_ready(&notify);
    tc_notify_status(&notify, "redis is down");
    tc_notify_status(&notify, "ready");
    tc_notify_alive(&notify); /* not kept: later it would not be true */
    while (strcmp(heard(), "X") == 0)
        continue;
    alive = false;
    run_ticks(1);
    assert_string_equal(heard(), "READY=1\nSTATUS=ready\n");
    assert_string_equal(heard(), "");
}

static void notify_supervisor_that_comes_back_is_told(void **state) {
    (void)state;
    start();
    close(ear);
    unlink(path);
    tc_notify_ready(&notify); /* nobody is there */
    listen_at(path, strlen(path));
    alive = false;
    run_ticks(1);
    assert_string_equal(heard(), "READY=1\n");
}

static void notify_long_status_is_cut(void **state) {
    (void)state;
    char status[500];
    memset(status, 's', sizeof status);
    status[sizeof status - 1] = '\0';
    start();
    tc_notify_status(&notify, status);
    assert_int_equal(strlen(heard()), strlen("STATUS=\n") + sizeof notify.status - 1);
    tc_notify_status(&notify, status);
    assert_string_equal(heard(), "");
}

#define T(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void) {
    const struct CMUnitTest tests[] = {
        T(notify_states_are_told),
        T(notify_abstract_socket_is_reached),
        T(notify_variables_are_taken_from_the_environment),
        T(notify_without_supervisor_says_nothing),
        T(notify_bad_address_is_no_supervisor),
        T(notify_watchdog_is_fed_while_the_owner_is_alive),
        T(notify_long_watchdog_ticks_every_second),
        T(notify_watchdog_of_another_process_is_not_fed),
        T(notify_bad_watchdog_time_is_no_watchdog),
        T(notify_full_queue_is_told_later_and_only_the_newest),
        T(notify_supervisor_that_comes_back_is_told),
        T(notify_long_status_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
