/* One Redis connection's life (see conn.h). Loop thread; owned by a struct tc_redis.
 *
 * Re-entrancy: a reply callback may close the connection while the read loop below it is on the stack. So nothing is
 * freed before the stream's close callback, which never runs under another one, and the read loop looks at the state
 * after each reply. */
#include "redis/conn.h"

#include "base/clock.h"
#include "base/digits.h"
#include "base/log.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <assert.h>
#include <string.h>

#define GRACE_MS       50 /* see on_overdue */
#define BACKOFF_JITTER 50 /* percent either way */
#define TIMEOUTS_MOST  10 /* in which a command must be answered, however steadily its answer comes */

static void on_timer(uv_timer_t *timer);

/* ---- states ---- */

static const unsigned char allowed[] = {
    [TC_CONN_WAITING] = 1 << TC_CONN_OPENING | 1 << TC_CONN_CLOSING,
    [TC_CONN_OPENING] = 1 << TC_CONN_GREETING | 1 << TC_CONN_LOST | 1 << TC_CONN_CLOSING,
    [TC_CONN_GREETING] = 1 << TC_CONN_UP | 1 << TC_CONN_LOST | 1 << TC_CONN_CLOSING,
    [TC_CONN_UP] = 1 << TC_CONN_LOST | 1 << TC_CONN_CLOSING,
    [TC_CONN_LOST] = 1 << TC_CONN_WAITING | 1 << TC_CONN_CLOSING,
    [TC_CONN_CLOSING] = 0,
};

static void set_state(struct tc_conn *c, enum tc_conn_state to) {
    (void)allowed; /* without NDEBUG alone */
    assert(allowed[c->state] & 1U << to);
    c->state = to;
}

bool tc_conn_is_up(const struct tc_conn *c) {
    return c->state == TC_CONN_UP;
}

static void log_loss(struct tc_conn *c, bool was_up, int err, const char *why) {
    char server[300];
    tc_endpoint_format(c->at, server, sizeof(server));
    bool news = was_up ? !c->ev.minor : err == TC_EAUTH || err != c->logged_err;
    enum tc_log_level level = news ? TC_LOG_WARN : TC_LOG_DEBUG;
    tc_log(level, was_up ? "redis link lost" : "redis link not made", TC_LS("server", server), TC_LS("link", c->role),
           TC_LERR(err), TC_LS("why", why));
    c->logged_err = err;
}

static void log_up(struct tc_conn *c) {
    char server[300];
    tc_endpoint_format(c->at, server, sizeof(server));
    enum tc_log_level level = c->ev.minor ? TC_LOG_DEBUG : TC_LOG_INFO;
    tc_log(level, "redis link up", TC_LS("server", server), TC_LS("link", c->role));
    c->logged_err = 0;
}

static void start_timer(struct tc_conn *c, uint64_t ms) {
    uv_timer_start(&c->timer, on_timer, ms, 0); /* only a closing handle is refused */
}

/* Two of these and a PING between them make a command time-out. */
static uint64_t quiet_period(const struct tc_conn *c) {
    return c->link->command_timeout_ms / 3 + 1;
}

/* ---- replies ---- */

/* Fails everything in flight, in order. Callbacks may close, so the count is read anew each time. */
static void fail_waiting(struct tc_conn *c, int err) {
    if (err != TC_ETIMEOUT && err != TC_ECLOSED)
        err = TC_ELINK; /* all that redis.h promises */
    struct tc_fifo_entry e;
    while (tc_fifo_pop(&c->waiting, &e))
        if (e.cb)
            e.cb(e.arg, err, NULL);
}

static bool is_live(const struct tc_conn *c) {
    return c->state == TC_CONN_GREETING || c->state == TC_CONN_UP;
}

static bool on_reply(void *arg, const redisReply *reply) {
    struct tc_conn *c = arg;
    struct tc_fifo_entry e;
    if (c->state == TC_CONN_UP && tc_reply_is_error(reply, NULL))
        c->link->stats.errors++;
    if (c->state == TC_CONN_UP && c->ev.on_reply) {
        c->ev.on_reply(c->ev.arg, reply);
    } else if (tc_fifo_pop(&c->waiting, &e)) {
        c->overdue = false;
        bool demoted = c->ev.peer == TC_PEER_MASTER && tc_reply_is_error(reply, "READONLY");
        if (e.cb)
            e.cb(e.arg, 0, reply);
        if (demoted)
            tc_conn_lose(c, TC_ELINK, "the server is a replica now");
    } else {
        /* Redis says why it hangs up ("ERR max number of clients reached") before it is asked anything. */
        bool error = tc_reply_is_error(reply, NULL);
        tc_conn_lose(c, error ? TC_EREDIS : TC_EPROTO, error ? reply->str : "a reply that nobody asked for");
    }
    return is_live(c);
}

static bool on_messages(void *arg, const struct tc_push *messages, size_t n) {
    struct tc_conn *c = arg;
    c->ev.on_messages(c->ev.arg, messages, n);
    return is_live(c);
}

static void on_stream_data(void *arg, const char *p, size_t n) {
    struct tc_conn *c = arg;
    if (!is_live(c))
        return;
    c->quiet = 0;
    c->read_ms = uv_now(c->loop);
    int rc = tc_reader_feed(&c->reader, p, n, on_reply, c);
    if (rc)
        tc_conn_lose(c, rc, tc_reader_reason(&c->reader));
}

/* ---- sending ---- */

/* Whether one more command of n bytes is within the bounds; reserves its place. */
static int admit(struct tc_conn *c, tc_redis_reply_cb cb, void *arg, size_t n) {
    if (!is_live(c))
        return TC_ELINK;
    size_t pending = tc_stream_pending(&c->stream);
    if (n > c->link->max_out_bytes || pending > c->link->max_out_bytes - n)
        return TC_EFULL;
    if (c->waiting.count >= c->link->max_in_flight)
        return TC_EFULL;
    struct tc_buf *out = tc_stream_out(&c->stream);
    if (!tc_buf_reserve(out, n)) {
        out->failed = false; /* nothing was written: the stream is as good as before */
        return TC_ENOMEM;
    }
    if (c->state == TC_CONN_UP && c->ev.on_reply) {
        assert(!cb);
        return 0;
    }
    return tc_fifo_push(&c->waiting, (struct tc_fifo_entry){.cb = cb, .arg = arg, .sent_ms = uv_now(c->loop)});
}

static void sent(struct tc_conn *c) {
    if (c->state == TC_CONN_UP)
        c->link->stats.commands++;
    if (c->state == TC_CONN_UP && !c->ev.on_reply && !uv_is_active((uv_handle_t *)&c->timer))
        start_timer(c, c->link->command_timeout_ms);
    tc_stream_kick(&c->stream);
}

int tc_conn_send_bytes(struct tc_conn *c, tc_redis_reply_cb cb, void *arg, const char *bytes, size_t n) {
    int rc = admit(c, cb, arg, n);
    if (rc)
        return rc;
    tc_buf_append(tc_stream_out(&c->stream), bytes, n);
    sent(c);
    return 0;
}

#define HEAD_MAX (1 + TC_DIGITS_MAX + 2)

/* "*n\r\n" or "$n\r\n" */
static char *put_head(char *to, char mark, size_t n) {
    *to++ = mark;
    if (n < 10)
        *to++ = (char)('0' + n);
    else
        to += tc_digits(to, n);
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

int tc_conn_send(struct tc_conn *c, tc_redis_reply_cb cb, void *arg, int argc, const char **argv,
                 const size_t *argvlen) {
    size_t most = HEAD_MAX;
    for (int i = 0; i < argc; i++) {
        if (argvlen[i] > SIZE_MAX - most - HEAD_MAX - 2)
            return TC_EFULL;
        most += HEAD_MAX + argvlen[i] + 2;
    }
    int rc = admit(c, cb, arg, most);
    if (rc)
        return rc;
    struct tc_buf *out = tc_stream_out(&c->stream);
    char *to = put_head(out->data + out->len, '*', (size_t)argc); /* where admit() has made room */
    for (int i = 0; i < argc; i++) {
        to = put_head(to, '$', argvlen[i]);
        if (argvlen[i] > 0)
            memcpy(to, argv[i], argvlen[i]);
        to += argvlen[i];
        *to++ = '\r';
        *to++ = '\n';
    }
    out->len = (size_t)(to - out->data);
    sent(c);
    return 0;
}

/* ---- up and down ---- */

static void on_stream_closed(void *arg);
static void maybe_finish(struct tc_conn *c);

void tc_conn_greeted(struct tc_conn *c) {
    set_state(c, TC_CONN_UP);
    c->tries = 0;
    c->quiet = 0;
    c->overdue = false;
    c->refused = false;
    c->link->stats.connects++;
    c->reader.on_messages = c->ev.on_messages ? on_messages : NULL;
    uv_timer_stop(&c->timer);
    if (c->ev.on_reply)
        start_timer(c, quiet_period(c));
    log_up(c);
    c->ev.on_up(c->ev.arg);
}

void tc_conn_lose(struct tc_conn *c, int err, const char *why) {
    if (c->state != TC_CONN_OPENING && !is_live(c))
        return;
    bool was_up = c->state == TC_CONN_UP;
    set_state(c, TC_CONN_LOST);
    uv_timer_stop(&c->timer);
    log_loss(c, was_up, err, why);
    if (was_up)
        c->link->stats.losses++;
    if (err == TC_ETIMEOUT)
        c->link->stats.timeouts++;
    tc_stream_close(&c->stream, on_stream_closed);
    fail_waiting(c, err);
    if (was_up && c->state != TC_CONN_CLOSING)
        c->ev.on_down(c->ev.arg, err);
}

static void on_stream_open(void *arg) {
    struct tc_conn *c = arg;
    set_state(c, TC_CONN_GREETING);
    int rc = tc_reader_init(&c->reader);
    if (!rc)
        rc = tc_conn_greet(c);
    if (rc)
        tc_conn_lose(c, rc, "the greeting cannot be sent");
}

static void on_stream_lost(void *arg, int err, const char *why) {
    tc_conn_lose(arg, err, why);
}

static void open_stream(struct tc_conn *c) {
    if (c->ev.where)
        c->at = c->ev.where(c->ev.arg);
    const struct tc_stream_target target = {.at = c->at, .tls = c->link->tls, .rotate = c->tries};
    const struct tc_stream_events ev = {on_stream_open, on_stream_data, on_stream_lost, c};
    set_state(c, TC_CONN_OPENING);
    c->stream_live = true;
    start_timer(c, c->link->connect_timeout_ms);
    tc_stream_open(&c->stream, c->loop, &target, &ev);
}

static uint64_t next_backoff(struct tc_conn *c) {
    uint64_t ms = c->link->backoff_min_ms;
    for (unsigned i = 0; i < c->tries && ms < c->link->backoff_max_ms; i++)
        ms *= 2;
    if (ms > c->link->backoff_max_ms || c->refused)
        ms = c->link->backoff_max_ms;
    c->refused = false;
    c->tries++;
    return tc_jitter(ms, BACKOFF_JITTER);
}

static void on_stream_closed(void *arg) {
    struct tc_conn *c = arg;
    c->stream_live = false;
    tc_reader_fini(&c->reader);
    if (c->state == TC_CONN_CLOSING) {
        maybe_finish(c);
        return;
    }
    set_state(c, TC_CONN_WAITING);
    start_timer(c, next_backoff(c));
}

/* ---- time ---- */

/* How long the oldest command may still wait; 0 = no longer. A large answer takes its time, and while bytes of it come
 * the link is not lost. Bytes alone do not do for ever: a server that lets them drip holds up everything behind. */
static uint64_t time_left(const struct tc_conn *c, const struct tc_fifo_entry *oldest) {
    uint64_t now = uv_now(c->loop), most = TIMEOUTS_MOST * c->link->command_timeout_ms;
    uint64_t age = now - oldest->sent_ms;
    uint64_t silent = now - (c->read_ms > oldest->sent_ms ? c->read_ms : oldest->sent_ms);
    if (age >= most || silent >= c->link->command_timeout_ms)
        return 0;
    uint64_t left = c->link->command_timeout_ms - silent;
    return left < most - age ? left : most - age;
}

/* A time-out is decided only GRACE_MS after it was noticed: when the loop itself was held up, timers run before the
 * sockets are read, and the answer may lie there. */
static void on_overdue(struct tc_conn *c) {
    const struct tc_fifo_entry *oldest = tc_fifo_peek(&c->waiting);
    if (!oldest)
        return;
    uint64_t left = time_left(c, oldest);
    if (left > 0) {
        c->overdue = false;
        start_timer(c, left);
    } else if (!c->overdue) {
        c->overdue = true;
        start_timer(c, GRACE_MS);
    } else {
        tc_conn_lose(c, TC_ETIMEOUT, "a command was not answered in time");
    }
}

/* A connection that subscribes may hear nothing for hours and be fine, or be dead: PING tells. */
static void on_quiet(struct tc_conn *c) {
    static const char ping[] = "*1\r\n$4\r\nPING\r\n";
    int rc = 0;
    switch (++c->quiet) {
    case 1: /* something came in this period */
        start_timer(c, quiet_period(c));
        break;
    case 2:
        rc = tc_conn_send_bytes(c, NULL, NULL, ping, sizeof(ping) - 1);
        start_timer(c, quiet_period(c));
        break;
    case 3:
        start_timer(c, GRACE_MS);
        break;
    default:
        rc = TC_ETIMEOUT;
    }
    if (rc)
        tc_conn_lose(c, rc, "a PING was not answered in time");
}

static void on_timer(uv_timer_t *timer) {
    struct tc_conn *c = timer->data;
    switch (c->state) {
    case TC_CONN_WAITING:
        open_stream(c);
        break;
    case TC_CONN_OPENING:
    case TC_CONN_GREETING:
        tc_conn_lose(c, TC_ETIMEOUT, "not connected in time");
        break;
    case TC_CONN_UP:
        if (c->ev.on_reply)
            on_quiet(c);
        else
            on_overdue(c);
        break;
    case TC_CONN_LOST:
    case TC_CONN_CLOSING:
        break;
    }
}

/* ---- start and close ---- */

void tc_conn_start(struct tc_conn *c, uv_loop_t *loop, struct tc_link *link, const struct tc_endpoint *at,
                   const char *role, const struct tc_conn_events *ev) {
    memset(c, 0, sizeof(*c));
    c->loop = loop;
    c->link = link;
    c->at = at;
    c->role = role;
    c->ev = *ev;
    uv_timer_init(loop, &c->timer); /* cannot fail */
    c->timer.data = c;
    c->timer_live = true;
    start_timer(c, 0);
}

static void maybe_finish(struct tc_conn *c) {
    if (c->stream_live || c->timer_live)
        return;
    fail_waiting(c, TC_ECLOSED);
    tc_fifo_fini(&c->waiting);
    c->close_cb(c->ev.arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    struct tc_conn *c = handle->data;
    c->timer_live = false;
    maybe_finish(c);
}

void tc_conn_close(struct tc_conn *c, void (*cb)(void *arg)) {
    bool stream_closing = c->state == TC_CONN_LOST;
    set_state(c, TC_CONN_CLOSING);
    c->close_cb = cb;
    if (c->stream_live && !stream_closing)
        tc_stream_close(&c->stream, on_stream_closed);
    uv_close((uv_handle_t *)&c->timer, on_timer_closed);
}
