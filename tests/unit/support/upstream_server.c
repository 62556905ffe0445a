/* See upstream_server.h. A connection closes itself when the client is gone or a script says so; its memory goes when
 * both of its handles have closed. */
#include "upstream_server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

struct upstream_conn {
    struct upstream_server *server;
    struct upstream_conn *prev, *next;
    uv_tcp_t tcp;
    uv_timer_t timer;
    int open; /* handles */
    bool closing;
    struct tc_buf in;
    const struct upstream_step *step; /* NULL: waits for a request */
    size_t at;                        /* byte of a dribble */
    char room[65536];
};

struct write {
    uv_write_t req;
    struct upstream_conn *conn;
    struct tc_buf bytes;
    bool flood;
};

static void run_step(struct upstream_conn *c);

static void on_closed(uv_handle_t *handle) {
    struct upstream_conn *c = handle->data;

    if (--c->open > 0)
        return;
    if (c->prev)
        c->prev->next = c->next;
    else
        c->server->conns = c->next;
    if (c->next)
        c->next->prev = c->prev;
    tc_buf_fini(&c->in);
    free(c);
}

static void close_conn(struct upstream_conn *c, bool reset) {
    if (c->closing)
        return;
    c->closing = true;
    if (!reset || uv_tcp_close_reset(&c->tcp, on_closed) != 0)
        uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_timer(uv_timer_t *timer) {
    struct upstream_conn *c = timer->data;
    run_step(c);
}

static void next_step(struct upstream_conn *c) {
    if (c->closing)
        return;
    if (c->step->verb != UPSTREAM_FLOOD && c->at == 0)
        c->step++;
    run_step(c);
}

static void on_written(uv_write_t *req, int status) {
    struct write *w = req->data;
    struct upstream_conn *c = w->conn;

    if (status == 0 && w->flood)
        c->server->flooded += w->bytes.len;
    tc_buf_fini(&w->bytes);
    free(w);
    if (status == 0)
        next_step(c);
}

static void write_bytes(struct upstream_conn *c, const char *p, size_t n, bool chunk) {
    struct write *w = calloc(1, sizeof(*w));

    assert_non_null(w);
    w->conn = c;
    w->flood = c->step->verb == UPSTREAM_FLOOD;
    w->req.data = w;
    tc_buf_init(&w->bytes, 0);
    if (chunk)
        tc_buf_printf(&w->bytes, "%zx\r\n", n);
    tc_buf_append(&w->bytes, p, n);
    if (chunk)
        tc_buf_puts(&w->bytes, "\r\n");
    uv_buf_t buf = uv_buf_init(w->bytes.data, (unsigned)w->bytes.len);
    assert_int_equal(uv_write(&w->req, (uv_stream_t *)&c->tcp, &buf, 1, on_written), 0);
}

static void dribble(struct upstream_conn *c) {
    const char *p = c->step->bytes + c->at;

    c->at = p[1] ? c->at + 1 : 0;
    write_bytes(c, p, 1, false);
}

static void run_step(struct upstream_conn *c) {
    const struct upstream_step *s = c->step;
    size_t n = s->bytes ? strlen(s->bytes) : 0;

    switch (s->verb) {
    case UPSTREAM_SEND:
    case UPSTREAM_FLOOD:
        write_bytes(c, s->bytes, n, false);
        break;
    case UPSTREAM_CHUNK:
        write_bytes(c, s->bytes, n, true);
        break;
    case UPSTREAM_DRIBBLE:
        dribble(c);
        break;
    case UPSTREAM_WAIT:
        c->step++;
        uv_timer_start(&c->timer, on_timer, s->ms, 0);
        break;
    case UPSTREAM_FIN:
    case UPSTREAM_RESET:
        close_conn(c, s->verb == UPSTREAM_RESET);
        break;
    case UPSTREAM_END:
        c->step = NULL;
        break;
    case UPSTREAM_HANG:
        break;
    }
}

/* Bytes of a whole request at the start of `in`; 0: more must come. */
static size_t request_len(const struct tc_buf *in) {
    const char *head_end = NULL;
    size_t body = 0;

    for (size_t i = 0; i + 4 <= in->len && !head_end; i++) {
        if (memcmp(in->data + i, "\r\n\r\n", 4) == 0)
            head_end = in->data + i + 4;
        if (strncasecmp(in->data + i, "\r\ncontent-length:", 17) == 0)
            body = strtoul(in->data + i + 17, NULL, 10);
    }
    size_t whole = head_end ? (size_t)(head_end - in->data) + body : 0;
    return whole <= in->len ? whole : 0;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct upstream_conn *c = stream->data;
    struct upstream_server *s = c->server;

    if (n < 0) {
        s->gone++;
        close_conn(c, false);
        return;
    }
    tc_buf_append(&c->in, buf->base, (size_t)n);
    size_t len = c->step ? 0 : request_len(&c->in);
    if (len == 0)
        return;
    tc_buf_reset(&s->request);
    tc_buf_append(&s->request, c->in.data, len);
    tc_buf_putc(&s->request, 0);
    tc_buf_consume(&c->in, len);
    assert_in_range(s->script_count, 1, 1000);
    c->step = s->scripts[s->requests < s->script_count ? s->requests : s->script_count - 1];
    s->requests++;
    run_step(c);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf) {
    struct upstream_conn *c = handle->data;
    (void)hint;
    *buf = uv_buf_init(c->room, sizeof(c->room));
}

static void on_connection(uv_stream_t *listener, int status) {
    struct upstream_server *s = listener->data;
    struct upstream_conn *c = calloc(1, sizeof(*c));

    assert_int_equal(status, 0);
    assert_non_null(c);
    c->server = s;
    tc_buf_init(&c->in, 0);
    uv_tcp_init(s->loop, &c->tcp);
    uv_timer_init(s->loop, &c->timer);
    c->tcp.data = c->timer.data = c;
    c->open = 2;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&c->tcp), 0);
    uv_tcp_nodelay(&c->tcp, 1);
    c->next = s->conns;
    if (c->next)
        c->next->prev = c;
    s->conns = c;
    s->connections++;
    uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read);
}

void upstream_server_start(struct upstream_server *s, uv_loop_t *loop) {
    struct sockaddr_in addr;
    struct sockaddr_storage bound;
    int len = sizeof(bound);

    memset(s, 0, sizeof(*s));
    s->loop = loop;
    tc_buf_init(&s->request, 0);
    uv_tcp_init(loop, &s->tcp);
    s->tcp.data = s;
    uv_ip4_addr("127.0.0.1", 0, &addr);
    assert_int_equal(uv_tcp_bind(&s->tcp, (struct sockaddr *)&addr, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&s->tcp, 1024, on_connection), 0);
    assert_int_equal(uv_tcp_getsockname(&s->tcp, (struct sockaddr *)&bound, &len), 0);
    memcpy(&addr, &bound, sizeof(addr));
    s->port = ntohs(addr.sin_port);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/v1", s->port);
}

void upstream_server_scripts(struct upstream_server *s, const struct upstream_step *const *scripts, size_t count) {
    s->scripts = scripts;
    s->script_count = count;
}

void upstream_server_stop(struct upstream_server *s) {
    if (s->closing)
        return;
    s->closing = true;
    uv_close((uv_handle_t *)&s->tcp, NULL);
    for (struct upstream_conn *c = s->conns; c; c = c->next)
        close_conn(c, false);
}

void upstream_server_fini(struct upstream_server *s) {
    assert_null(s->conns);
    tc_buf_fini(&s->request);
}
