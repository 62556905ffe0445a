/* What the handler of the HTTP tests does, by path, and the state that it leaves for the test to look at. */
#ifndef TESTS_BROKER_HTTP_ROUTES_H
#define TESTS_BROKER_HTTP_ROUTES_H

#include "http/http.h"
#include "http_client.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BIG (8u * 1024 * 1024) /* more than the socket buffers of loopback hold */

struct fixture {
    uv_loop_t loop;
    struct http_options opts;
    struct http_server *server;
    struct http_conn *later; /* the connection that waits for its answer, or the stream */
    struct http_client clients[4];
    char *big;
    int calls;             /* of the handler */
    int depth, max_depth;  /* handlers on the stack */
    int gone;              /* on_gone calls */
    int writable;          /* on_writable calls */
    int start_rc;          /* of http_stream_start() */
    bool keep_gone_stream; /* on_gone does not end the stream at once */
    bool closed;
};

static inline void on_closed_flag(void *arg) {
    *(bool *)arg = true;
}

static inline void on_fixture_gone(void *arg) {
    struct fixture *f = arg;
    f->gone++;
    f->later = NULL;
}

static inline void on_fixture_writable(void *arg) {
    struct fixture *f = arg;
    f->writable++;
}

static inline void on_fixture_stream_gone(void *arg) {
    struct fixture *f = arg;
    f->gone++;
    if (f->keep_gone_stream)
        return;
    http_stream_end(f->later, false);
    f->later = NULL;
}

static const struct http_stream_events fixture_stream_events = {.on_writable = on_fixture_writable,
                                                                .on_gone = on_fixture_stream_gone};

static inline void begin_stream(struct fixture *f, struct http_conn *conn) {
    struct tc_buf head;
    tc_buf_init(&head, 0);
    f->later = conn;
    f->start_rc =
        http_stream_start(conn, 200, "text/event-stream", "X-Stream: yes\r\n", &head, &fixture_stream_events, f);
    assert_int_equal(f->start_rc, 0);
    struct iovec iov = {head.data, head.len};
    assert_int_equal(http_stream_send(conn, &iov, 1), head.len);
    tc_buf_fini(&head);
}

static inline void echo(struct http_conn *conn, const struct http_request *req) {
    struct tc_buf out;
    tc_buf_init(&out, 0);
    tc_buf_put_str(&out, req->path);
    tc_buf_putc(&out, '?');
    tc_buf_put_str(&out, req->query);
    tc_buf_putc(&out, ' ');
    tc_buf_put_str(&out, req->body);
    http_reply(conn, 200, "text/plain", "X-Echo: yes\r\n", tc_buf_str(&out));
    tc_buf_fini(&out);
}

static inline void route(struct fixture *f, struct http_conn *conn, const struct http_request *req) {
    if (tc_str_is(req->path, "/later")) {
        f->later = conn;
        http_on_gone(conn, on_fixture_gone, f);
    } else if (tc_str_is(req->path, "/untold")) {
        f->later = conn;
    } else if (tc_str_is(req->path, "/stream")) {
        begin_stream(f, conn);
    } else if (tc_str_is(req->path, "/big")) {
        http_reply(conn, 200, "text/plain", NULL, (struct tc_str){f->big, BIG});
    } else if (tc_str_is(req->path, "/empty")) {
        http_reply(conn, 204, NULL, NULL, (struct tc_str){NULL, 0});
    } else if (tc_str_is(req->path, "/extra")) {
        http_extra_headers(conn, TC_STR("X-Extra: once\r\n"));
        http_reply(conn, 200, NULL, NULL, TC_STR("x"));
    } else if (tc_str_is(req->path, "/problem")) {
        http_problem(conn, 409, "conflict", "Con\"flict", "de\ntail");
    } else if (tc_str_is(req->path, "/close-server")) {
        http_server_close(f->server, on_closed_flag, &f->closed);
        http_reply(conn, 200, NULL, NULL, TC_STR("late"));
    } else {
        echo(conn, req);
    }
}

static inline void on_fixture_request(void *arg, struct http_conn *conn, const struct http_request *req) {
    struct fixture *f = arg;
    f->calls++;
    if (++f->depth > f->max_depth)
        f->max_depth = f->depth;
    route(f, conn, req);
    f->depth--;
}

#endif
