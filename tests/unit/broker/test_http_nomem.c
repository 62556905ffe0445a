/* The HTTP server with each allocation failing in turn: a connection without memory gets a whole answer or none, and
 * the server goes on serving the others. */
#include "nomem.h"

#include "http/request.h"
#include "http_fixture.h"

#include <string.h>

/* ---- one request, without a socket ---- */

static bool parse(void *arg, enum nomem_mode mode, unsigned n) {
    static const char text[] =
        "POST /v1/x?after=1-2 HTTP/1.1\r\n" HOST "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        "6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n";
    struct request r;
    int rc = 0;
    (void)arg;
    request_init(&r, 1024, 64);
    nomem_begin(mode, n);
    for (size_t at = 0; at < sizeof text - 1 && rc == 0; at += 50) {
        size_t left = sizeof text - 1 - at;
        rc = request_append(&r, text + at, left < 50 ? left : 50);
        if (rc == 0)
            rc = request_parse(&r);
    }
    bool failed = nomem_end();
    assert_int_equal(rc, failed ? TC_ENOMEM : 1);
    if (!failed)
        assert_true(tc_str_is(r.parsed.body, "hello world"));
    request_fini(&r);
    return failed;
}

static void request_without_memory_says_so(void **state) {
    (void)state;
    nomem_each(parse, NULL);
}

/* ---- a server ---- */

static bool create(void *arg, enum nomem_mode mode, unsigned n) {
    struct fixture *f = arg;
    nomem_begin(mode, n);
    int rc = http_server_create(&f->server, &f->loop, &f->opts, on_fixture_request, f);
    bool failed = nomem_end();
    assert_int_equal(rc, failed ? TC_ENOMEM : 0);
    if (rc == 0) {
        f->closed = false;
        fixture_close(f);
    }
    (void)uv_run(&f->loop, UV_RUN_NOWAIT); /* what it had begun to open is closed */
    return failed;
}

static void server_made_without_memory_is_refused(void **state) {
    nomem_each(create, *state);
    ((struct fixture *)*state)->closed = true;
}

struct asked {
    struct fixture *f;
    const char *path, *wanted;
};

static void get(struct http_client *c, const char *path) {
    char text[128];
    int len = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\n" HOST "\r\n", path);
    http_client_send(c, text, (size_t)len);
}

/* As step(), with memory for the client. */
static void turn(struct fixture *f, struct http_client *c) {
    const struct timespec pause = {.tv_nsec = 200000};
    (void)uv_run(&f->loop, UV_RUN_NOWAIT);
    nomem_pause();
    http_client_poll(c);
    nomem_resume();
    (void)nanosleep(&pause, NULL);
}

static bool ask(void *arg, enum nomem_mode mode, unsigned n) {
    struct asked *a = arg;
    struct fixture *f = a->f;
    struct http_client *c = fixture_client(f, 0);
    int status;
    size_t length;
    struct tc_str body;
    uint64_t until = uv_hrtime() + HANG_SEC * UINT64_C(1000000000);
    nomem_begin(mode, n);
    get(c, a->path);
    while (!http_client_answer(c, false, &status, &body, &length) && !http_client_over(c)) {
        assert_true(uv_hrtime() < until);
        turn(f, c);
    }
    bool failed = nomem_end();
    if (http_client_answer(c, false, &status, &body, &length))
        assert_true(status == 503 || http_client_has(c, a->wanted)); /* whole */
    else
        assert_true(failed);
    http_client_close(c);
    /* Others are served as ever. */
    c = fixture_client(f, 1);
    get(c, a->path);
    UNTIL(f, http_client_answer(c, false, &status, &body, &length) || http_client_over(c));
    assert_true(http_client_has(c, a->wanted));
    http_client_close(c);
    for (int i = 0; i < 3; i++)
        step(f);
    return failed;
}

static void connection_without_memory_gets_a_whole_answer_or_none(void **state) {
    static const struct {
        const char *path, *wanted;
    } cases[] = {{"/empty", "HTTP/1.1 204 No Content\r\n"},
                 {"/extra", "X-Extra: once\r\n"},
                 {"/problem", "HTTP/1.1 409 Conflict\r\n"}};
    struct fixture *f = *state;
    fixture_start(f);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct asked a = {f, cases[i].path, cases[i].wanted};
        nomem_each(ask, &a);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_without_memory_says_so),
        T(server_made_without_memory_is_refused),
        T(connection_without_memory_gets_a_whole_answer_or_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
