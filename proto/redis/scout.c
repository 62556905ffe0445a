/* Questions about where things are (see scout.h). Loop thread; owned by a struct tc_redis.
 *
 * A server that is cut off from the others goes on telling what it knew. Therefore another is asked when things are
 * not well for a number of answers. */
#include "redis/scout.h"

#include "base/clock.h"
#include "base/log.h"
#include "redis/reply.h"
#include "tokencast/error.h"

#include <openssl/crypto.h>
#include <string.h>

#define URGENT_MS  250  /* between questions while something is missing */
#define RATE_MS    100  /* between any two */
#define TIMEOUT_MS 2000 /* there are other servers to ask */
#define PATIENCE   8    /* answers that did not help before another server is asked */
#define JITTER     20   /* percent either way */

static void on_timer(uv_timer_t *timer);

static void wait(struct tc_scout *s, uint64_t ms) {
    if (!s->closing)
        uv_timer_start(&s->timer, on_timer, tc_jitter(ms, JITTER), 0);
}

static void next_server(struct tc_scout *s, const char *why) {
    s->in_vain = 0;
    tc_conn_lose(&s->conn, TC_EAGAIN, why);
}

static void complain(struct tc_scout *s, const char *why) {
    char server[300];
    tc_endpoint_format(&s->at, server, sizeof(server));
    tc_log(s->complained ? TC_LOG_DEBUG : TC_LOG_WARN, "redis cannot say where things are", TC_LS("server", server),
           TC_LS("question", s->ev.argv[1]), TC_LS("why", why));
    s->complained = true;
}

static void on_answer(void *arg, int err, const redisReply *reply) {
    struct tc_scout *s = arg;
    s->asking = false;
    if (err || s->closing)
        return; /* lost: on_up asks again */
    if (tc_reply_is_error(reply, NULL) || !s->ev.on_answer(s->ev.arg, reply)) {
        const char *why = tc_reply_is_error(reply, NULL) ? reply->str : "it does not know";
        complain(s, why);
        s->conn.refused = true; /* or, where there is but one, it would be asked without a pause */
        next_server(s, why);
        return;
    }
    if (s->closing)
        return;
    s->complained = false;
    bool well = s->ev.is_well(s->ev.arg);
    s->in_vain = well ? 0 : s->in_vain + 1;
    if (s->in_vain == PATIENCE)
        next_server(s, "its answers do not help");
    else if (s->again)
        wait(s, RATE_MS);
    else
        wait(s, well ? s->ev.calm_ms : URGENT_MS);
    s->again = false;
}

static void ask(struct tc_scout *s) {
    size_t len[4];
    for (int i = 0; i < s->ev.argc; i++)
        len[i] = strlen(s->ev.argv[i]);
    uv_timer_stop(&s->timer);
    s->asked_ms = uv_now(s->conn.loop);
    s->asking = tc_conn_send(&s->conn, on_answer, s, s->ev.argc, s->ev.argv, len) == 0;
    if (!s->asking)
        wait(s, URGENT_MS);
}

static void on_timer(uv_timer_t *timer) {
    struct tc_scout *s = timer->data;
    if (tc_conn_is_up(&s->conn) && !s->asking)
        ask(s);
}

void tc_scout_ask(struct tc_scout *s) {
    if (s->closing || !tc_conn_is_up(&s->conn))
        return; /* it asks when it is up */
    if (s->asking) {
        s->again = true;
        return;
    }
    uint64_t since = uv_now(s->conn.loop) - s->asked_ms;
    uint64_t ms = since < RATE_MS ? RATE_MS - since : 1;
    if (!uv_is_active((uv_handle_t *)&s->timer) || uv_timer_get_due_in(&s->timer) > ms)
        wait(s, ms);
}

static const struct tc_endpoint *where(void *arg) {
    struct tc_scout *s = arg;
    s->at = *s->ev.server(s->ev.arg, s->nth++);
    return &s->at;
}

static void on_up(void *arg) {
    ask(arg);
}

static void on_down(void *arg, int err) {
    struct tc_scout *s = arg;
    (void)err; /* the connection makes itself again, with the next server */
    s->again = false;
    uv_timer_stop(&s->timer);
}

void tc_scout_start(struct tc_scout *s, uv_loop_t *loop, const struct tc_link *link, const struct tc_scout_events *ev) {
    const struct tc_conn_events cev = {
        .peer = ev->peer, .minor = true, .where = where, .on_up = on_up, .on_down = on_down, .arg = s};
    memset(s, 0, sizeof(*s));
    s->link = *link;
    memset(&s->link.stats, 0, sizeof(s->link.stats));
    if (s->link.connect_timeout_ms > TIMEOUT_MS)
        s->link.connect_timeout_ms = TIMEOUT_MS;
    if (s->link.command_timeout_ms > TIMEOUT_MS)
        s->link.command_timeout_ms = TIMEOUT_MS;
    s->ev = *ev;
    uv_timer_init(loop, &s->timer); /* cannot fail */
    s->timer.data = s;
    s->open = 2;
    tc_conn_start(&s->conn, loop, &s->link, NULL, "scout", &cev);
}

static void on_part_closed(void *arg) {
    struct tc_scout *s = arg;
    if (--s->open > 0)
        return;
    OPENSSL_cleanse(&s->link, sizeof(s->link)); /* a password lies there */
    s->close_cb(s->ev.arg);
}

static void on_timer_closed(uv_handle_t *handle) {
    on_part_closed(handle->data);
}

void tc_scout_close(struct tc_scout *s, void (*cb)(void *arg)) {
    s->closing = true;
    s->close_cb = cb;
    uv_close((uv_handle_t *)&s->timer, on_timer_closed);
    tc_conn_close(&s->conn, on_part_closed);
}
