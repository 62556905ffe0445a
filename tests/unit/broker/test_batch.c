/* Batches of sends through a real ring and real sockets: everything arrives once and in order, what a socket does not
 * take is told to the byte, a peer that left is noticed, a closed descriptor is let go. Where the kernel offers no
 * ring, that this is said. */
#include "http/batch.h"
#include "http/conn.h"
#include "tokencast/error.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 700 /* more than a batch holds */

struct end {
    struct http_conn conn;
    int peer;
    size_t wanted;
    ssize_t sent;
    int told;
};

static struct http_batch *batch;
static struct end ends[MANY];

static void unsent(void *arg, size_t wanted, ssize_t sent) {
    struct end *e = arg;
    e->wanted = wanted;
    e->sent = sent;
    e->told++;
}

static void open_end(struct end *e) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    *e = (struct end){.peer = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &len), 0);
    assert_int_equal(connect(e->peer, (struct sockaddr *)&address, sizeof address), 0);
    e->conn.fd = accept(listener, NULL, NULL);
    assert_true(e->conn.fd >= 0);
    e->conn.state = CONN_STREAMING;
    close(listener);
}

static void close_end(struct end *e) {
    http_batch_forget(batch, &e->conn);
    close(e->conn.fd);
    if (e->peer >= 0)
        close(e->peer);
}

static int before_each(void **state) {
    (void)state;
    return http_batch_create(&batch, 16, unsent);
}

static int after_each(void **state) {
    (void)state;
    http_batch_destroy(batch);
    batch = NULL;
    return 0;
}

static void expect(int fd, const char *text) {
    char got[64] = "";
    size_t n = strlen(text);
    assert_true(n < sizeof got);
    assert_int_equal(recv(fd, got, n, MSG_WAITALL), n);
    assert_string_equal(got, text);
}

/* More streams than the ring's table has slots, and more sends than it holds. */
static void batch_of_many_arrives_whole_and_once(void **state) {
    (void)state;
    char texts[MANY][16];
    for (int i = 0; i < MANY; i++) {
        open_end(&ends[i]);
        snprintf(texts[i], sizeof texts[i], "to %d;", i);
        assert_true(http_batch_add(batch, &ends[i].conn, texts[i], strlen(texts[i]), &ends[i]));
    }
    http_batch_submit(batch);
    for (int i = 0; i < MANY; i++) {
        char rest;
        expect(ends[i].peer, texts[i]);
        assert_int_equal(recv(ends[i].peer, &rest, 1, MSG_DONTWAIT), -1);
        assert_int_equal(ends[i].told, 0);
        close_end(&ends[i]);
    }
}

static void batch_waits_until_it_is_submitted(void **state) {
    (void)state;
    char got;
    open_end(&ends[0]);
    assert_true(http_batch_add(batch, &ends[0].conn, "a", 1, &ends[0]));
    assert_int_equal(recv(ends[0].peer, &got, 1, MSG_DONTWAIT), -1);
    http_batch_submit(batch);
    http_batch_submit(batch);
    expect(ends[0].peer, "a");
    assert_int_equal(recv(ends[0].peer, &got, 1, MSG_DONTWAIT), -1);
    close_end(&ends[0]);
}

static void batch_full_socket_tells_how_much_it_took(void **state) {
    (void)state;
    enum { SIZE = 32 << 20 };
    char *data = malloc(SIZE), *got = malloc(SIZE);
    for (size_t i = 0; i < SIZE; i++)
        data[i] = (char)(i * 2654435761u >> 24);
    open_end(&ends[0]);
    open_end(&ends[1]);
    assert_true(http_batch_add(batch, &ends[0].conn, data, SIZE, &ends[0]));
    assert_true(http_batch_add(batch, &ends[1].conn, "b", 1, &ends[1]));
    http_batch_submit(batch);
    expect(ends[1].peer, "b");
    assert_int_equal(ends[0].told, 1);
    assert_int_equal(ends[0].wanted, SIZE);
    assert_in_range(ends[0].sent, 1, SIZE - 1);

    size_t took = (size_t)ends[0].sent;
    assert_true(http_batch_add(batch, &ends[0].conn, data, SIZE, &ends[0]));
    http_batch_submit(batch);
    assert_int_equal(ends[0].told, 2);
    assert_int_equal(ends[0].sent, TC_EAGAIN);
    assert_int_equal(recv(ends[0].peer, got, took, MSG_WAITALL), took);
    assert_memory_equal(got, data, took);
    char rest;
    assert_int_equal(recv(ends[0].peer, &rest, 1, MSG_DONTWAIT), -1);
    close_end(&ends[0]);
    close_end(&ends[1]);
    free(data);
    free(got);
}

static void batch_peer_that_left_is_told(void **state) {
    (void)state;
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    open_end(&ends[0]);
    open_end(&ends[1]);
    assert_int_equal(setsockopt(ends[0].peer, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
    close(ends[0].peer);
    ends[0].peer = -1;
    assert_true(http_batch_add(batch, &ends[0].conn, "a", 1, &ends[0]));
    assert_true(http_batch_add(batch, &ends[1].conn, "b", 1, &ends[1]));
    http_batch_submit(batch);
    assert_int_equal(ends[0].told, 1);
    assert_int_equal(ends[0].sent, TC_EIO);
    expect(ends[1].peer, "b");
    assert_int_equal(ends[1].told, 0);
    close_end(&ends[0]);
    close_end(&ends[1]);
}

/* A descriptor that the ring still held would keep its connection open. */
static void batch_forgotten_descriptor_is_closed(void **state) {
    (void)state;
    char got;
    for (int round = 0; round < 40; round++) { /* more than there are slots */
        open_end(&ends[0]);
        assert_true(http_batch_add(batch, &ends[0].conn, "a", 1, &ends[0]));
        http_batch_submit(batch);
        expect(ends[0].peer, "a");
        assert_true(ends[0].conn.slot > 0);
        http_batch_forget(batch, &ends[0].conn);
        close(ends[0].conn.fd);
        assert_int_equal(recv(ends[0].peer, &got, 1, 0), 0);
        close(ends[0].peer);
    }
}

static void batch_takes_no_stream_that_is_over(void **state) {
    (void)state;
    open_end(&ends[0]);
    ends[0].conn.gone = true;
    assert_false(http_batch_add(batch, &ends[0].conn, "a", 1, &ends[0]));
    ends[0].conn.gone = false;
    ends[0].conn.state = CONN_LINGERING;
    assert_false(http_batch_add(batch, &ends[0].conn, "a", 1, &ends[0]));
    http_batch_submit(batch);
    close_end(&ends[0]);
}

static void batch_that_is_none_takes_nothing(void **state) {
    (void)state;
    struct http_conn c = {.state = CONN_STREAMING, .fd = -1};
    assert_false(http_batch_add(NULL, &c, "a", 1, &c));
    http_batch_submit(NULL);
    http_batch_forget(NULL, &c);
    http_batch_destroy(NULL);
}

static void batch_without_a_ring_says_so(void **state) {
    (void)state;
    assert_int_equal(http_batch_create(&batch, 16, unsent), TC_ENOTSUP);
}

#define WITH_RING(f) cmocka_unit_test_setup_teardown(f, before_each, after_each)

int main(void) {
    const struct CMUnitTest with[] = {
        WITH_RING(batch_of_many_arrives_whole_and_once),     WITH_RING(batch_waits_until_it_is_submitted),
        WITH_RING(batch_full_socket_tells_how_much_it_took), WITH_RING(batch_peer_that_left_is_told),
        WITH_RING(batch_forgotten_descriptor_is_closed),     WITH_RING(batch_takes_no_stream_that_is_over),
        cmocka_unit_test(batch_that_is_none_takes_nothing),
    };
    const struct CMUnitTest without[] = {
        cmocka_unit_test(batch_without_a_ring_says_so),
        cmocka_unit_test(batch_that_is_none_takes_nothing),
    };
    int err = http_batch_create(&batch, 16, unsent);
    if (err == TC_ENOTSUP)
        return cmocka_run_group_tests(without, NULL, NULL);
    if (err == 0)
        http_batch_destroy(batch);
    batch = NULL;
    return cmocka_run_group_tests(with, NULL, NULL);
}
