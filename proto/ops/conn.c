/* A connection to the operations port (see conn.h). Loop thread; owned by a struct tc_ops.
 *
 * Happy path: read -> the parser pauses behind a complete request -> route -> answer -> write -> read again, pipelined
 * bytes first. The last answer is followed by FIN, and what the peer still sends is dropped until its own FIN: closing
 * at once would reset the connection and could take the answer with it. Everything else, time included, just closes. */
#include "ops/conn.h"

#include <string.h>

static void resume(struct tc_ops_conn *c);

/* ---- closing ---- */

static void on_closed(uv_handle_t *handle) {
    struct tc_ops_conn *c = handle->data;
    if (--c->handles > 0)
        return;
    tc_buf_fini(&c->out);
    tc_ops_conn_gone(c);
}

void tc_ops_conn_close(struct tc_ops_conn *c) {
    if (c->closing)
        return;
    c->closing = true;
    c->awaits_alive = false;
    if (c->scrape)
        tc_ops_scrape_forget(c->scrape);
    c->scrape = NULL;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
    uv_close((uv_handle_t *)&c->timer, on_closed);
}

static void on_timer(uv_timer_t *timer) {
    tc_ops_conn_close(timer->data);
}

static void restart_timer(struct tc_ops_conn *c) {
    uv_timer_start(&c->timer, on_timer, TC_OPS_REQUEST_MS, 0); /* only a closing handle is refused */
}

/* ---- answering ---- */

static const char *reason(int status) {
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    default:
        return "Service Unavailable";
    }
}

static void on_shutdown(uv_shutdown_t *req, int status) {
    struct tc_ops_conn *c = req->data;
    if (status != 0)
        tc_ops_conn_close(c);
}

static void on_write(uv_write_t *req, int status) {
    struct tc_ops_conn *c = req->data;
    if (c->closing)
        return;
    if (status != 0) {
        tc_ops_conn_close(c);
        return;
    }
    tc_buf_reset(&c->out);
    restart_timer(c);
    if (!c->keep_alive) {
        c->draining = true;
        c->shutdown.data = c;
        if (uv_shutdown(&c->shutdown, (uv_stream_t *)&c->tcp, on_shutdown) != 0) {
            tc_ops_conn_close(c);
            return;
        }
    }
    c->answering = false;
    resume(c);
}

void tc_ops_conn_answer(struct tc_ops_conn *c, int status, struct tc_str body) {
    const char *type =
        status == 200 && c->scrape ? "text/plain; version=0.0.4; charset=utf-8" : "text/plain; charset=utf-8";
    c->scrape = NULL;
    c->awaits_alive = false;
    tc_buf_printf(&c->out, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nCache-Control: no-store\r\n",
                  status, reason(status), type, body.n);
    if (status == 405)
        tc_buf_puts(&c->out, "Allow: GET, HEAD\r\n");
    tc_buf_puts(&c->out, c->keep_alive ? "\r\n" : "Connection: close\r\n\r\n");
    if (c->parser.method != HTTP_HEAD)
        tc_buf_put_str(&c->out, body);
    uv_buf_t all = uv_buf_init(c->out.data, (unsigned)c->out.len);
    c->write.data = c;
    restart_timer(c);
    if (!tc_buf_ok(&c->out) || uv_write(&c->write, (uv_stream_t *)&c->tcp, &all, 1, on_write) != 0)
        tc_ops_conn_close(c);
}

/* Answers a request that cannot be understood, and then nothing more. */
static void refuse(struct tc_ops_conn *c, int status) {
    c->answering = true;
    c->keep_alive = false;
    c->in_len = 0;
    uv_read_stop((uv_stream_t *)&c->tcp);
    tc_ops_conn_answer(c, status, tc_str_from(status == 431 ? "request too large\n" : "malformed request\n"));
}

static void answer_ready(struct tc_ops_conn *c) {
    struct tc_buf why;
    tc_buf_init(&why, 1024);
    int ready = tc_ops_ask_ready(c->ops, &why);
    tc_buf_putc(&why, '\n');
    if (!c->closing)
        tc_ops_conn_answer(c, ready ? 200 : 503, tc_buf_str(&why));
    tc_buf_fini(&why);
}

static void route(struct tc_ops_conn *c) {
    struct tc_str path = {c->url, c->url_len < sizeof(c->url) ? c->url_len : 0};
    const char *query = path.n > 0 ? memchr(path.p, '?', path.n) : NULL;
    if (query)
        path.n = (size_t)(query - path.p);

    bool live = tc_str_is(path, "/livez"), ready = tc_str_is(path, "/readyz"), metrics = tc_str_is(path, "/metrics");
    if (!live && !ready && !metrics)
        tc_ops_conn_answer(c, 404, TC_STR("there are /livez, /readyz and /metrics\n"));
    else if (c->parser.method != HTTP_GET && c->parser.method != HTTP_HEAD)
        tc_ops_conn_answer(c, 405, TC_STR("only GET and HEAD\n"));
    else if (live)
        tc_ops_ask_live(c->ops, c);
    else if (ready)
        answer_ready(c);
    else
        tc_ops_ask_metrics(c->ops, c);
}

/* ---- parsing ---- */

static int on_message_begin(struct tc_http_parser *p) {
    struct tc_ops_conn *c = p->data;
    c->url_len = 0;
    return 0;
}

static int on_url(struct tc_http_parser *p, const char *at, size_t n) {
    struct tc_ops_conn *c = p->data;
    if (n <= sizeof(c->url) && c->url_len <= sizeof(c->url) - n)
        memcpy(c->url + c->url_len, at, n);
    c->url_len += n;
    return 0;
}

static int on_headers_complete(struct tc_http_parser *p) {
    tc_http_ignore_upgrade(p);
    return 0;
}

static int on_message_complete(struct tc_http_parser *p) {
    struct tc_ops_conn *c = p->data;
    c->answering = true;
    c->keep_alive = p->http_minor > 0 && tc_http_keep_alive(p); /* 1.0 would want it confirmed */
    return tc_http_pause(p);
}

static const struct tc_http_settings settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_headers_complete = on_headers_complete,
    .on_message_complete = on_message_complete,
};

/* Parses what is in `in`, up to the end of one request. */
static void parse(struct tc_ops_conn *c) {
    size_t used = 0;
    enum tc_http_result result = tc_http_execute(&c->parser, &settings, c->in, c->in_len, &used);
    c->request_bytes += used;
    if (c->request_bytes > TC_OPS_REQUEST_MAX) {
        refuse(c, 431);
        return;
    }
    if (result != TC_HTTP_OK && result != TC_HTTP_PAUSED) {
        refuse(c, 400);
        return;
    }
    c->in_len -= used;
    memmove(c->in, c->in + used, c->in_len);
    if (!c->answering)
        return;
    uv_read_stop((uv_stream_t *)&c->tcp);
    tc_http_resume(&c->parser);
    c->request_bytes = 0;
    restart_timer(c);
    route(c);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct tc_ops_conn *c = handle->data;
    (void)suggested;
    *buf = uv_buf_init(c->in + c->in_len, (unsigned)(sizeof(c->in) - c->in_len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    struct tc_ops_conn *c = stream->data;
    (void)buf;
    if (c->closing || n == 0)
        return;
    if (n < 0) {
        tc_ops_conn_close(c);
        return;
    }
    if (c->draining)
        return;
    c->in_len += (size_t)n;
    parse(c);
}

/* Goes on after an answer. What was pipelined is parsed from here, and its answer written later, from the loop: a long
 * pipeline does not become a deep stack. */
static void resume(struct tc_ops_conn *c) {
    if (c->draining)
        c->in_len = 0;
    if (uv_read_start((uv_stream_t *)&c->tcp, on_alloc, on_read) != 0)
        tc_ops_conn_close(c);
    else if (c->in_len > 0)
        parse(c);
}

void tc_ops_conn_start(struct tc_ops_conn *c, struct tc_ops *ops, uv_loop_t *loop, uv_stream_t *listener) {
    c->ops = ops;
    tc_buf_init(&c->out, 0);
    uv_tcp_init(loop, &c->tcp); /* without a socket yet: neither can fail */
    uv_timer_init(loop, &c->timer);
    c->handles = 2;
    c->tcp.data = c->timer.data = c;
    tc_http_init_request(&c->parser, &settings, c);
    restart_timer(c);
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) != 0)
        tc_ops_conn_close(c);
    else
        resume(c);
}
