#include "channel_fixture.h"

#include "wire/pack.h"

#include <string.h>

const struct track_key room_key = {.dialect = &dialect_native, .include = INCLUDE_ALL};

/* ---- the writing side ---- */

void do_redis(struct fixture *f, const char *key_name, const char *id, const struct tc_buf *e) {
    redisReply *r = redisCommand(f->writer, "XADD %s %s e %b", key_name, id, e->data, e->len);
    assert_non_null(r);
    assert_int_equal(r->type, REDIS_REPLY_STRING);
    freeReplyObject(r);
}

static void ring(struct fixture *f, const char *bell, const char *id, const struct tc_buf *e) {
    struct tc_buf payload = {0};
    tc_buf_puts(&payload, id);
    tc_buf_putc(&payload, ' ');
    tc_buf_put_str(&payload, tc_buf_str(e));
    redisReply *r = redisCommand(f->writer, "PUBLISH %s %b", bell, payload.data, payload.len);
    assert_non_null(r);
    freeReplyObject(r);
    tc_buf_fini(&payload);
}

void write_event(struct fixture *f, const char *gen, const char *id, const struct tc_event *ev) {
    char log[TC_KEY_MAX], bell[TC_KEY_MAX];
    struct tc_buf e = {0};
    tc_key_gen(log, "tc:", TC_KEY_LOG, gen);
    tc_key_gen(bell, "tc:", TC_KEY_BELL, gen);
    tc_event_encode(&e, ev);
    do_redis(f, log, id, &e);
    ring(f, bell, id, &e);
    tc_buf_fini(&e);
}

void write_created(struct fixture *f, const char *gen, const char *room) {
    char meta[TC_KEY_MAX];
    tc_key_gen(meta, "tc:", TC_KEY_META, gen);
    freeReplyObject(redisCommand(f->writer, "HSET %s model m channel %s", meta, room));
    write_event(f, gen, "0-1", &(struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m")});
}

void write_text(struct fixture *f, const char *gen, const char *id, uint64_t offset, const char *text) {
    write_event(f, gen, id, &(struct tc_event){.type = TC_EV_DELTA, .offset = offset, .text = tc_str_from(text)});
}

void write_done(struct fixture *f, const char *gen, const char *id) {
    write_event(f, gen, id, &(struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
}

void announce_as(struct fixture *f, const char *gen, const char *id, bool bell) {
    char log[TC_KEY_MAX], name[TC_KEY_MAX];
    struct tc_buf e = {0};
    msgpack_packer pk;
    tc_key_channel(log, "tc:", "room", false);
    tc_key_channel(name, "tc:", "room", true);
    pack_init(&pk, &e);
    msgpack_pack_map(&pk, 3);
    pack_str(&pk, TC_STR("type"));
    pack_str(&pk, TC_STR("generation"));
    pack_str(&pk, TC_STR("model"));
    pack_str(&pk, TC_STR("m"));
    pack_str(&pk, TC_STR("generation"));
    pack_str(&pk, tc_str_from(gen));
    do_redis(f, log, id, &e);
    if (bell)
        ring(f, name, id, &e);
    tc_buf_fini(&e);
}

void announce(struct fixture *f, const char *gen, const char *id) {
    announce_as(f, gen, id, true);
}

/* ---- the reading side ---- */

const char *text_of(struct tc_buf *b) {
    tc_buf_putc(b, '\0');
    b->len--;
    return b->data;
}

const char *live_text(struct fixture *f) {
    tc_buf_reset(&f->seen);
    track_copy(f->live, f->live->tail_off, f->live->head_off, &f->seen);
    return text_of(&f->seen);
}

static bool live_has(void *arg) {
    struct reader *r = arg;
    return strstr(live_text(r->f), r->wanted) != NULL;
}

void await_live(struct fixture *f, const char *wanted) {
    struct reader r = {.f = f, .wanted = wanted};
    redis_run_until_cond(&f->loop, live_has, &r);
}

bool step_once(void *arg) {
    struct reader *r = arg;
    r->result = r->c->step(r->c, &r->out, 65536);
    tc_buf_put_str(&r->all, tc_buf_str(&r->out));
    tc_buf_reset(&r->out);
    return r->result != CATCHUP_WAIT && r->result != CATCHUP_MORE;
}

void open_reader(struct fixture *f, struct reader *r, const char *after) {
    struct vector v;
    *r = (struct reader){.f = f};
    if (after != NULL)
        assert_int_equal(vector_parse(&v, tc_str_from(after)), 0);
    r->c = channel_catchup(f->room, &room_key, after != NULL ? &v : NULL);
    assert_non_null(r->c);
}

void close_reader(struct reader *r) {
    r->c->destroy(r->c);
    tc_buf_fini(&r->out);
    tc_buf_fini(&r->all);
}

/* Catches up from `after` to the head; what came is in f->seen. */
const char *catch_up(struct fixture *f, const char *after) {
    struct reader r;
    open_reader(f, &r, after);
    redis_run_until_cond(&f->loop, step_once, &r);
    assert_int_equal(r.result, CATCHUP_HEAD);
    tc_buf_reset(&f->seen);
    tc_buf_put_str(&f->seen, tc_buf_str(&r.all));
    close_reader(&r);
    return text_of(&f->seen);
}

unsigned count_of(const char *text, const char *wanted) {
    unsigned n = 0;
    for (const char *p = strstr(text, wanted); p != NULL; p = strstr(p + 1, wanted))
        n++;
    return n;
}

void assert_order(const char *text, const char *first, const char *second) {
    const char *a = strstr(text, first), *b = strstr(text, second);
    if (a == NULL || b == NULL || a >= b)
        fail_msg("not in this order: %s, %s in:\n%s", first, second, text);
}

void assert_in(const char *text, const char *wanted) {
    if (strstr(text, wanted) == NULL)
        fail_msg("%s is not in:\n%s", wanted, text);
}

void assert_not_in(const char *text, const char *unwanted) {
    if (strstr(text, unwanted) != NULL)
        fail_msg("%s is in:\n%s", unwanted, text);
}

bool has_failed(void *arg) {
    return ((struct feed *)arg)->state == FEED_FAILED;
}

/* The room, loaded, with a track that hears what its live subscribers would. */
void enter(struct fixture *f) {
    assert_int_equal(channel_get(&f->hub, "room", &f->room), 0);
    assert_int_equal(fan_track(channel_fan(f->room), &room_key, &f->live), 0);
    f->live->blocked = 1; /* so that all of it is kept to be looked at */
    (void)catch_up(f, NULL);
}

/* ---- the fixture ---- */

int room_setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    redis_server_init(&f->server);
    redis_server_start(&f->server);
    f->writer = redisConnectUnix(f->server.sock);
    assert_non_null(f->writer);
    assert_int_equal(f->writer->err, 0);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    struct tc_redis_options options = {.url = f->server.url, .pubsub = true};
    assert_int_equal(tc_redis_create(&f->redis, &f->loop, &options), 0);
    struct hub_options opts = {.prefix = "tc:",
                               .lag_events = 1024,
                               .lag_bytes = 262144,
                               .heartbeat_ms = 15000,
                               .linger_ms = 5000,
                               .lease_ms = 10000,
                               .sweep_ms = 3600000, /* the tests sweep */
                               .max_feeds = 1000,
                               .instance = "test"};
    assert_int_equal(hub_init(&f->hub, &f->loop, f->redis, &opts), 0);
    redis_probe_await_up(&f->loop, f->redis);
    *state = f;
    return 0;
}

static void on_closed(void *arg) {
    *(bool *)arg = true;
}

int room_teardown(void **state) {
    struct fixture *f = *state;
    if (f->room != NULL)
        channel_unref(f->room);
    hub_close(&f->hub, on_closed, &f->hub_closed);
    redis_run_until(&f->loop, &f->hub_closed);
    redis_probe_close(&f->loop, f->redis);
    redis_loop_end(&f->loop);
    assert_null(f->hub.feeds);
    assert_null(f->hub.channels);
    assert_int_equal(f->hub.stats.channels, 0);
    redisFree(f->writer);
    redis_server_fini(&f->server);
    tc_buf_fini(&f->seen);
    free(f);
    return 0;
}
