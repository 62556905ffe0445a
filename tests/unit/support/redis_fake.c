/* See redis_fake.h. */
#include "redis_fake.h"

#include "redis_fixture.h"

#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>

struct sending {
    uv_write_t req;
    char bytes[];
};

static void on_peer_closed(uv_handle_t *handle) {
    struct redis_fake_peer *p = handle->data, **at = &p->fake->peers;
    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    redisReaderFree(p->reader);
    free(p);
}

void redis_fake_end(struct redis_fake_peer *p) {
    if (p->closing)
        return;
    p->closing = true;
    uv_close((uv_handle_t *)&p->tcp, on_peer_closed);
}

void redis_fake_reset(struct redis_fake_peer *p) {
    if (p->closing)
        return;
    p->closing = true;
    assert_int_equal(uv_tcp_close_reset(&p->tcp, on_peer_closed), 0);
}

static void on_sent(uv_write_t *req, int status) {
    (void)status;
    free(req);
}

void redis_fake_say_n(struct redis_fake_peer *p, const char *bytes, size_t n) {
    if (p->closing)
        return;
    struct sending *s = malloc(sizeof(*s) + n);
    assert_non_null(s);
    memcpy(s->bytes, bytes, n);
    uv_buf_t buf = uv_buf_init(s->bytes, (unsigned)n);
    assert_int_equal(uv_write(&s->req, (uv_stream_t *)&p->tcp, &buf, 1, on_sent), 0);
}

void redis_fake_say(struct redis_fake_peer *p, const char *bytes) {
    redis_fake_say_n(p, bytes, strlen(bytes));
}

bool redis_fake_is(const redisReply *command, const char *name) {
    return command->type == REDIS_REPLY_ARRAY && command->elements > 0 &&
           strcasecmp(command->element[0]->str, name) == 0;
}

void redis_fake_greet(struct redis_fake_peer *p, const redisReply *command) {
    redis_fake_say(p, redis_fake_is(command, "PING") ? "+PONG\r\n" : "+OK\r\n");
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)handle;
    *buf = uv_buf_init(malloc(suggested), (unsigned)suggested);
}

static void take(struct redis_fake_peer *p, const char *bytes, size_t n) {
    void *command = NULL;
    assert_int_equal(redisReaderFeed(p->reader, bytes, n), REDIS_OK);
    for (;;) {
        assert_int_equal(redisReaderGetReply(p->reader, &command), REDIS_OK);
        if (!command)
            return;
        p->commands++;
        if (!p->closing)
            p->fake->on_command(p, command);
        freeReplyObject(command);
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct redis_fake_peer *p = stream->data;
    if (n > 0 && !p->closing && !p->fake->silent)
        take(p, buf->base, (size_t)n);
    free(buf->base);
    if (n < 0)
        redis_fake_end(p);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct redis_fake *f = listener->data;
    assert_int_equal(status, 0);
    struct redis_fake_peer *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->fake = f;
    p->reader = redisReaderCreate();
    p->number = f->accepted++;
    p->next = f->peers;
    f->peers = p;
    uv_tcp_init(listener->loop, &p->tcp);
    p->tcp.data = p;
    assert_int_equal(uv_accept(listener, (uv_stream_t *)&p->tcp), 0);
    assert_int_equal(uv_tcp_nodelay(&p->tcp, p->fake->nodelay), 0);
    assert_int_equal(uv_read_start((uv_stream_t *)&p->tcp, on_alloc, on_read), 0);
}

void redis_fake_start(struct redis_fake *f, uv_loop_t *loop) {
    signal(SIGPIPE, SIG_IGN); /* as both programs do */
    if (!f->on_command)
        f->on_command = redis_fake_greet;
    struct sockaddr_in a;
    uv_ip4_addr("127.0.0.1", 0, &a);
    uv_tcp_init(loop, &f->listener);
    f->listener.data = f;
    assert_int_equal(uv_tcp_bind(&f->listener, (struct sockaddr *)&a, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&f->listener, 16, on_connection), 0);
    int len = sizeof(a);
    assert_int_equal(uv_tcp_getsockname(&f->listener, (struct sockaddr *)&a, &len), 0);
    f->port = ntohs(a.sin_port);
    snprintf(f->url, sizeof(f->url), "redis://127.0.0.1:%d", f->port);
}

static void on_listener_closed(uv_handle_t *handle) {
    struct redis_fake *f = handle->data;
    f->stopped = true;
}

static bool is_gone(void *arg) {
    struct redis_fake *f = arg;
    return f->stopped && !f->peers;
}

void redis_fake_stop(struct redis_fake *f) {
    if (f->stopped)
        return;
    for (struct redis_fake_peer *p = f->peers; p; p = p->next)
        redis_fake_end(p);
    uv_close((uv_handle_t *)&f->listener, on_listener_closed);
    redis_run_until_cond(f->listener.loop, is_gone, f);
}
