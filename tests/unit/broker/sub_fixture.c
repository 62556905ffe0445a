#include "sub_fixture.h"

#include "http/batch.h"

#include "tokencast/error.h"

ssize_t http_stream_send(struct http_conn *c, const struct iovec *iov, int n) {
    size_t took = 0;
    assert_false(c->ended);
    if (c->dead)
        return TC_EIO;
    for (int i = 0; i < n && c->room > 0; i++) {
        size_t part = iov[i].iov_len < c->room ? iov[i].iov_len : c->room;
        tc_buf_append(&c->got, iov[i].iov_base, part);
        c->room -= part;
        took += part;
    }
    return took > 0 ? (ssize_t)took : TC_EAGAIN;
}

void http_stream_ahead(const struct http_conn *c) {
    (void)c;
}

void http_stream_want_write(struct http_conn *c) {
    c->wants = true;
}

void http_stream_end(struct http_conn *c, bool clean) {
    assert_false(c->ended);
    c->ended = true;
    c->clean = clean;
}

/* A batch of few, so that it is often full: what is added goes out when it is submitted, no earlier. */
struct http_batch {
    unsigned count;
    struct {
        struct http_conn *conn;
        struct iovec bytes;
        void *arg;
    } held[3];
};
static struct http_batch batch;
static bool batching;

bool http_batch_add(struct http_batch *b, struct http_conn *c, const char *data, size_t len, void *arg) {
    if (b == NULL)
        return false;
    if (b->count == 3)
        http_batch_submit(b);
    b->held[b->count].conn = c;
    b->held[b->count].bytes = (struct iovec){(char *)(uintptr_t)data, len};
    b->held[b->count++].arg = arg;
    return true;
}

void http_batch_submit(struct http_batch *b) {
    for (unsigned i = 0; b != NULL && i < b->count; i++) {
        size_t wanted = b->held[i].bytes.iov_len;
        ssize_t sent = http_stream_send(b->held[i].conn, &b->held[i].bytes, 1);
        if (sent != (ssize_t)wanted)
            sub_unsent(b->held[i].arg, wanted, sent);
    }
    if (b != NULL)
        b->count = 0;
}

int in_batches(void **state) {
    (void)state;
    batching = true;
    return 0;
}

/* The world: one source with a log of its own that a merging catch-up reads. */
struct hub hub;
struct fan fan;
struct made_event events[LAST_MAX + 1];    /* by seq, from 1 */
static uint64_t units_after[LAST_MAX + 1]; /* the text's length then; all is ASCII */
uint64_t last;
unsigned seed;

struct replayed {
    struct catchup base;
    struct merge merge;
    struct tc_buf *out;
    struct track_key key;
    uint64_t next;
};

static int replayed_emit(void *arg, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    struct replayed *r = arg;
    char id[TC_POSITION_MAX];
    struct dialect_event in = {.id = {id, tc_position_format(pos, id)}, .ev = ev, .raw = raw};
    return frame_event(r->out, &r->key, &in);
}

static enum catchup_result replayed_step(struct catchup *c, struct tc_buf *out, size_t limit) {
    struct replayed *r = TC_CONTAINER_OF(c, struct replayed, base);
    r->out = out;
    for (; r->next <= last; r->next++) {
        if (out->len >= limit)
            return CATCHUP_MORE;
        struct made_event *e = &events[r->next];
        assert_int_equal(merge_push(&r->merge, at(1, r->next), &e->ev, tc_buf_str(&e->raw)), 0);
    }
    assert_int_equal(merge_flush(&r->merge), 0);
    return last > 0 && events[last].ev.type == TC_EV_DONE ? CATCHUP_END : CATCHUP_HEAD;
}

static void replayed_destroy(struct catchup *c) {
    struct replayed *r = TC_CONTAINER_OF(c, struct replayed, base);
    merge_fini(&r->merge);
    free(r);
}

static struct catchup *replayed_create(void *arg, const struct track *track, struct tc_position pos, bool lost) {
    (void)arg;
    struct replayed *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->base = (struct catchup){.step = replayed_step, .destroy = replayed_destroy};
    r->key = track->key;
    r->next = lost ? 1 : pos.seq + 1;
    merge_init(&r->merge, PACE_TOKEN, 32768, replayed_emit, r);
    return &r->base;
}

static int replayed_prime(void *arg, struct track *t) {
    (void)arg;
    track_begin(t, at(1, last));
    return 0;
}

int before_each(void **state) {
    (void)state;
    static uv_loop_t loop;
    memset(&hub, 0, sizeof hub);
    assert_int_equal(uv_loop_init(&loop), 0);
    hub.loop = &loop;
    assert_int_equal(uv_idle_init(&loop, &hub.idle), 0); /* started with the first dirty fan */
    hub.opts = (struct hub_options){
        .lag_events = 64, .lag_bytes = 16384, .heartbeat_ms = 1, .batch = batching ? &batch : NULL};
    tc_list_init(&hub.dirty);
    fan_init(&fan, &hub, &(struct fan_source){.catchup = replayed_create, .prime = replayed_prime});
    last = 0;
    seed = 7;
    return 0;
}

void cut_off(struct sub *s, void *arg) {
    (void)arg;
    sub_destroy(s, false);
}

int after_each(void **state) {
    (void)state;
    assert_int_equal(fan.sub_count, 0);
    assert_int_equal(batch.count, 0);
    fan_fini(&fan);
    for (uint64_t seq = 1; seq <= last; seq++)
        drop_event(&events[seq]);
    assert_int_equal(hub.stats.streams, 0);
    assert_int_equal(hub.stats.no_memory, 0);
    tc_buf_fini(&hub.scratch);
    uv_close((uv_handle_t *)&hub.idle, NULL);
    assert_int_equal(uv_run(hub.loop, UV_RUN_NOWAIT), 0);
    assert_int_equal(uv_loop_close(hub.loop), 0);
    return 0;
}

unsigned draw(unsigned below) {
    seed = seed * 1103515245u + 12345u;
    return (seed >> 16) % below;
}

struct sub *join(struct http_conn *c, enum sub_policy policy, enum pace pace) {
    struct track_key key = {.dialect = &dialect_native, .include = INCLUDE_ALL, .pace = pace, .chunked = true};
    struct track *t;
    struct sub *s;
    struct tc_buf head = {0};
    assert_int_equal(fan_track(&fan, &key, &t), 0);
    assert_int_equal(sub_create(&s, &fan, t, c, policy, &head, replayed_create(NULL, t, at(0, 0), false)), 0);
    c->arg = s;
    sub_pump(s);
    return s;
}

void turn(void) {
    bool left = true;
    for (int i = 0; i < 10000 && left; i++) {
        unsigned budget = 10;
        left = fan_flush(&fan, &budget);
        http_batch_submit(hub.opts.batch);
    }
    assert_false(left);
}

void say(const struct tc_event *ev) {
    assert_true(last < LAST_MAX);
    struct made_event *m = &events[++last];
    make_event(m, ev);
    units_after[last] = (last > 1 ? units_after[last - 1] : 0) + (ev->type == TC_EV_DELTA ? ev->text.n : 0);
    struct dialect_event in = in_dialect(m, at(1, last));
    fan_event(&fan, at(1, last), &in);
}

void lose(uint64_t from) {
    fan_restart(&fan, at(1, last));
    for (; last >= from; last--)
        drop_event(&events[last]);
    fan_prime(&fan);
}

uint64_t offset_of(uint64_t seq) { /* of the text after event seq */
    return seq > 0 ? units_after[seq] : 0;
}

static void say_delta(const char *text) {
    say(&(struct tc_event){.type = TC_EV_DELTA, .offset = offset_of(last), .text = tc_str_from(text)});
}

void say_deltas(unsigned n) {
    static const char *const texts[] = {"alpha ", "bet", "a", " and a rather longer piece of text ", "x y z"};
    for (unsigned i = 0; i < n; i++)
        say_delta(texts[draw(5)]);
}

void finish(void) {
    say(&(struct tc_event){.type = TC_EV_DONE, .reason = TC_STR("stop")});
    fan_end(&fan);
    turn();
}

void give_room(struct http_conn *c, size_t room) {
    c->room = room;
    if (c->ended || !c->wants)
        return;
    c->wants = false;
    sub_stream_events.on_writable(c->arg);
}
