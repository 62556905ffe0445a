/* POST /v1/generations. In order, each step after the one before was acknowledged:
 *   look (only for an id that may exist) -> log and meta in one MULTI -> job in the queue -> meta.job -> answer
 * A repeat (same Idempotency-Key) finds the log there and answers alike; if its job never made it into the queue, or
 * is lost, it is put there again. Redis failing in between is a 503; repeating the request then is always right. */
#include "api/api.h"
#include "api/join.h"
#include "api/params.h"
#include "api/start_request.h"
#include "api/trace.h"
#include "base/base64.h"
#include "base/clock.h"
#include "base/log.h"
#include "feed/liveness.h"
#include "redis/reply.h"
#include "tokencast/error.h"
#include "wire/json.h"
#include "wire/pack.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFUSAL_MS      10000 /* between two lines of Redis's refusals */
#define CHANNEL_ENTRIES 1000  /* announcements kept a channel, about */
#define ID_DRAWS        16    /* with a third of a Cluster away, all of them miss once in 40 million times */

struct start_op {
    struct api *api;
    struct http_conn *conn; /* NULL once the peer left: the steps go on, nobody is answered */
    struct start_request req;
    struct tc_trace trace; /* of this request, which may be a repeat of another one */
    bool idempotent, repeated, stream;
    struct params params; /* stream */
    char log[TC_KEY_MAX], meta[TC_KEY_MAX];
    char job[48];
    struct tc_buf created; /* the created event */
    unsigned calls;        /* replies still to come */
    bool over;             /* answered or failed: only waits for the replies */
};

static void enqueue(struct start_op *op);
static void create(struct start_op *op);

static void maybe_free(struct start_op *op) {
    if (!op->over || op->calls > 0)
        return;
    start_request_fini(&op->req);
    tc_buf_fini(&op->created);
    free(op);
}

static void on_gone(void *arg) {
    ((struct start_op *)arg)->conn = NULL;
}

static struct http_conn *finish(struct start_op *op) {
    struct http_conn *conn = op->conn;
    op->over = true;
    op->conn = NULL;
    if (conn != NULL)
        http_on_gone(conn, NULL, NULL);
    return conn;
}

static void fail(struct start_op *op, const char *detail) {
    struct http_conn *conn = finish(op);
    if (conn != NULL)
        api_unavailable(op->api, conn, detail);
}

static void succeed(struct start_op *op) {
    struct http_conn *conn = finish(op);
    if (op->repeated)
        op->api->stats.repeated++;
    else
        op->api->stats.started++;
    tc_log(tc_trace_log_level(&op->trace), "generation accepted", TC_LS("gen", op->req.id),
           TC_LS("how", op->repeated ? "repeat" : "new"), TC_LTRACE(&op->trace));
    if (conn == NULL)
        return;
    if (op->stream) {
        api_watch(op->api, conn, &op->params, op->req.id);
        return;
    }
    char extra[160];
    struct tc_buf lines = {.data = extra, .cap = sizeof extra, .max = sizeof extra};
    tc_buf_printf(&lines, "Location: /v1/generations/%s\r\n%s", op->req.id,
                  op->repeated ? "Idempotent-Replayed: true\r\n" : "");
    tc_buf_putc(&lines, '\0');
    api_accepted(conn, 202, tc_buf_ok(&lines) ? extra : NULL, op->req.id, "queued");
}

/* Counts a reply off; true: this op is over, do nothing more. */
static bool settle(struct start_op *op) {
    op->calls--;
    if (!op->over)
        return false;
    maybe_free(op);
    return true;
}

static void sent(struct start_op *op, int err) {
    if (err == 0) {
        op->calls++;
        return;
    }
    if (!op->over)
        fail(op, "Redis cannot be reached; nothing is lost, try again.");
}

/* ---- a command's words ---- */

#define WORDS_MAX 24

struct words {
    const char *argv[WORDS_MAX];
    size_t len[WORDS_MAX];
    int count;
};

static void add(struct words *c, struct tc_str s) {
    c->argv[c->count] = s.p;
    c->len[c->count++] = s.n;
}

static void add_field(struct words *c, const char *name, struct tc_str value) {
    if (value.n == 0)
        return;
    add(c, tc_str_from(name));
    add(c, value);
}

/* ---- the room is told ---- */

/* Adds ARGV[2] to the room's log unless one of its latest entries names the same generation (ARGV[1], as packed). */
#define ANNOUNCE_ONCE                                                                                                  \
    "for _, entry in ipairs(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 100)) do "                             \
    "if string.find(entry[2][2], ARGV[1], 1, true) then return '' end end "                                            \
    "return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'e', ARGV[2])"

static void on_announced(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    char bell[TC_KEY_MAX];
    struct tc_str id = err == 0 && reply->type == REDIS_REPLY_STRING ? tc_reply_str(reply) : (struct tc_str){NULL, 0};
    struct tc_buf payload = {0};
    tc_buf_put_str(&payload, id);
    tc_buf_putc(&payload, ' ');
    tc_buf_put_str(&payload, tc_buf_str(&op->created));
    if (id.n > 0 && tc_buf_ok(&payload)) {
        struct tc_str route = {bell, tc_key_channel(bell, op->api->opts.prefix, op->req.channel, true)};
        int rc = tc_redis_publish(op->api->redis, route, bell, tc_buf_str(&payload));
        (void)rc; /* readers of the channel find the entry in its log within a sweep */
    }
    tc_buf_fini(&payload);
    (void)settle(op);
}

static void announce(struct start_op *op) {
    char key[TC_KEY_MAX];
    struct tc_str route = {key, tc_key_channel(key, op->api->opts.prefix, op->req.channel, false)};
    struct tc_buf json = {0}, name = {0};
    msgpack_packer pk;
    int err = 0;
    tc_buf_printf(&json, "{\"type\":\"generation\",\"generation\":\"%s\",\"model\":", op->req.id);
    tc_json_string(&json, tc_str_from(op->req.model));
    tc_buf_printf(&json, ",\"at\":%lld}", (long long)tc_now_us());
    json_t *value = tc_buf_ok(&json) ? tc_json_load(tc_buf_str(&json), 0, NULL, &err) : NULL;
    tc_buf_fini(&json);
    tc_buf_reset(&op->created);
    if (value != NULL)
        tc_json_to_mp(&op->created, value);
    /* Several requests with one key may be here at once. */
    tc_buf_reset(&name);
    pack_init(&pk, &name);
    pack_str(&pk, TC_STR("generation"));
    pack_str(&pk, tc_str_from(op->req.id));
    bool whole = value != NULL && tc_buf_ok(&op->created) && tc_buf_ok(&name);
    int rc = TC_ENOMEM;
    if (whole)
        rc = tc_redis_command(op->api->redis, route, on_announced, op, "EVAL %s 1 %s %b %b %d", ANNOUNCE_ONCE, key,
                              name.data, name.len, op->created.data, op->created.len, CHANNEL_ENTRIES);
    json_decref(value);
    tc_buf_fini(&name);
    sent(op, rc);
    rc = tc_redis_command(op->api->redis, route, NULL, NULL, "PEXPIRE %s %lld", key,
                          (long long)op->api->opts.retention_ms * 24);
    (void)rc; /* set again with the next announcement */
}

/* ---- the job ---- */

static void on_job_known(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    if (op->over) {
        (void)settle(op);
        return;
    }
    if (err != 0 || reply->type == REDIS_REPLY_ERROR) {
        fail(op, "Redis did not confirm the job; nothing is lost, try again.");
    } else {
        succeed(op);
    }
    (void)settle(op);
}

static void on_enqueued(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    struct tc_str id = err == 0 && reply->type == REDIS_REPLY_STRING ? tc_reply_str(reply) : (struct tc_str){NULL, 0};
    if (!op->over && id.n > 0)
        sent(op, tc_redis_command(op->api->redis, tc_str_from(op->meta), on_job_known, op, "HSETNX %s job %b", op->meta,
                                  id.p, id.n));
    else if (!op->over)
        fail(op, "Redis did not take the job; nothing is lost, try again.");
    (void)settle(op);
}

static void enqueue(struct start_op *op) {
    char jobs[TC_KEY_MAX];
    struct tc_str route = {jobs, tc_key_jobs(jobs, op->api->opts.prefix, op->api->opts.queue)};
    /* Before meta names a job: a request that breaks off here is announced by its repeat. */
    if (op->req.channel[0] != '\0' && op->job[0] == '\0')
        announce(op);
    if (op->over)
        return;
    struct words c = {.count = 0};
    add(&c, TC_STR("XADD"));
    add(&c, route);
    add(&c, TC_STR("*"));
    add_field(&c, "gen", tc_str_from(op->req.id));
    /* A job of a repeat belongs to the request that was first: its log says which trace that is. */
    if (!op->repeated) {
        add_field(&c, "traceparent", tc_str_from(op->trace.parent));
        add_field(&c, "tracestate", tc_str_from(op->trace.state));
    }
    sent(op, tc_redis_command_argv(op->api->redis, route, on_enqueued, op, c.count, c.argv, c.len));
}

/* ---- a repeat ---- */

static void on_taken_back(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    if (settle(op))
        return;
    if (err != 0 || reply->type != REDIS_REPLY_INTEGER)
        fail(op, "Redis cannot be reached; nothing is lost, try again.");
    else if (reply->integer == 1)
        enqueue(op);
    else
        succeed(op); /* somebody else was first */
    maybe_free(op);
}

static void on_job_looked(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    if (settle(op))
        return;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY) {
        fail(op, "Redis cannot be reached; nothing is lost, try again.");
    } else if (reply->elements > 0) {
        succeed(op); /* still waiting, or running */
    } else {
        /* Not in the queue and the log has not ended: the queue lost it. One of those who see that takes it out of
         * meta and queues another; a worker drops a job that is not meta.job, so that it is started once. */
        sent(op, tc_redis_command(op->api->redis, tc_str_from(op->meta), on_taken_back, op, "EVAL %s 1 %s %s",
                                  LIVENESS_TAKE_BACK, op->meta, op->job));
    }
    maybe_free(op);
}

static void on_tail(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    if (settle(op))
        return;
    struct tc_reply_entry last;
    struct tc_event ev;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY) {
        fail(op, "Redis cannot be reached; nothing is lost, try again.");
    } else if (reply->elements == 0) {
        struct http_conn *conn = finish(op);
        if (conn != NULL)
            api_absent(op->api, conn, true);
    } else if (tc_reply_entry(reply, 0, &last) == 0 && tc_event_decode(last.e.p, last.e.n, &ev) == 0 &&
               ev.type == TC_EV_DONE) {
        succeed(op);
    } else if (op->job[0] == '\0') {
        enqueue(op);
    } else {
        char jobs[TC_KEY_MAX];
        struct tc_str route = {jobs, tc_key_jobs(jobs, op->api->opts.prefix, op->api->opts.queue)};
        sent(op, tc_redis_command(op->api->redis, route, on_job_looked, op, "XRANGE %s %s %s", jobs, op->job, op->job));
    }
    maybe_free(op);
}

static void conflict(struct start_op *op, int status, const char *slug, const char *title, const char *detail) {
    struct http_conn *conn = finish(op);
    if (conn != NULL)
        http_problem(conn, status, slug, title, detail);
}

static void on_look(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    if (settle(op))
        return;
    if (err != 0 || reply->type != REDIS_REPLY_ARRAY || reply->elements != 2) {
        fail(op, "Redis cannot be reached; nothing was started.");
    } else if (reply->element[0]->type != REDIS_REPLY_STRING) {
        create(op);
    } else if (!op->idempotent) {
        conflict(op, 409, "exists", "Generation exists", "There is a generation with this id already.");
    } else if (!tc_str_eq(tc_reply_str(reply->element[0]), tc_buf_str(&op->req.request))) {
        conflict(op, 422, "key-reused", "Idempotency-Key was used for another request",
                 "The same key came with another body before.");
    } else {
        struct tc_str job = tc_reply_str(reply->element[1]);
        op->repeated = true;
        if (job.n < sizeof op->job && job.n > 0)
            memcpy(op->job, job.p, job.n);
        sent(op,
             tc_redis_command(op->api->redis, tc_str_from(op->log), on_tail, op, "XREVRANGE %s + - COUNT 1", op->log));
    }
    maybe_free(op);
}

static void look(struct start_op *op) {
    sent(op, tc_redis_command(op->api->redis, tc_str_from(op->meta), on_look, op, "HMGET %s request job", op->meta));
}

/* ---- log and meta ---- */

/* Log and meta at once, or neither: an XADD that is refused ends the script. One command, so that no full queue and no
 * slot on the move can leave half of it behind. KEYS: log, meta. ARGV: the first event, the TTLs, then fields. */
#define CREATE                                                                                                         \
    "redis.call('XADD', KEYS[1], '0-1', 'e', ARGV[1]) "                                                                \
    "for i = 4, #ARGV, 2 do redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i + 1]) end "                                  \
    "redis.call('PEXPIRE', KEYS[1], ARGV[2]) redis.call('PEXPIRE', KEYS[2], ARGV[3]) return 1"

/* No memory, no permission, no replica: the operator wants Redis's own word (NULL: it said nothing), now and then. */
static void refuse(struct start_op *op, const redisReply *reply) {
    struct api *a = op->api;
    uint64_t now = hub_now_ms(a->hub);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR && now >= a->refusal_ms) {
        a->refusal_ms = now + REFUSAL_MS;
        tc_log(TC_LOG_WARN, "Redis refused a new generation", TC_LSTR("reply", tc_reply_str(reply)));
    }
    fail(op, "Redis refused the new generation; nothing was started.");
}

static void on_created(void *arg, int err, const redisReply *reply) {
    struct start_op *op = arg;
    if (settle(op))
        return;
    if (err == 0 && reply->type == REDIS_REPLY_INTEGER)
        enqueue(op);
    else if (err == 0 && reply->type == REDIS_REPLY_ERROR && strstr(reply->str, "equal or smaller") != NULL)
        look(op); /* the log is there: somebody with the same id was first */
    else
        refuse(op, reply);
    maybe_free(op);
}

static struct tc_str number(char room[24], int64_t value) {
    return (struct tc_str){room, (size_t)snprintf(room, 24, "%lld", (long long)value)};
}

static int send_create(struct start_op *op, int64_t now) {
    struct words c = {.count = 0};
    char ttl[24], meta_ttl[24], created[24], abandon[24];
    add(&c, TC_STR("EVAL"));
    add(&c, TC_STR(CREATE));
    add(&c, TC_STR("2"));
    add(&c, tc_str_from(op->log));
    add(&c, tc_str_from(op->meta));
    add(&c, tc_buf_str(&op->created));
    add(&c, number(ttl, op->api->opts.retention_ms));
    add(&c, number(meta_ttl, op->api->opts.retention_ms * 24)); /* "expired" and "never existed" differ so long */
    add_field(&c, "request", tc_buf_str(&op->req.request));
    add_field(&c, "model", tc_str_from(op->req.model));
    add_field(&c, "channel", tc_str_from(op->req.channel));
    add_field(&c, "on_crash", tc_str_from(op->req.on_crash));
    add_field(&c, "created", number(created, now));
    if (op->req.on_abandon_ms >= 0)
        add_field(&c, "on_abandon_ms", number(abandon, op->req.on_abandon_ms));
    return tc_redis_command_argv(op->api->redis, tc_str_from(op->log), on_created, op, c.count, c.argv, c.len);
}

static void create(struct start_op *op) {
    int64_t now = tc_now_us();
    struct tc_event ev = {
        .type = TC_EV_CREATED, .at = now, .model = tc_str_from(op->req.model), .channel = tc_str_from(op->req.channel)};
    ev.traceparent = tc_str_from(op->trace.parent);
    tc_buf_reset(&op->created);
    tc_event_encode(&op->created, &ev);
    if (!tc_buf_ok(&op->created)) {
        fail(op, "The broker has no memory for this request.");
        return;
    }
    sent(op, send_create(op, now));
}

/* ---- the request ---- */

/* With a key the id follows from it: no mapping that could dangle. */
static void id_from_key(struct api *a, struct tc_str key, char *out) {
    unsigned char mac[EVP_MAX_MD_SIZE];
    unsigned int n = sizeof mac;
    HMAC(EVP_sha256(), a->secret, sizeof a->secret, (const unsigned char *)key.p, key.n, mac, &n);
    memcpy(out, "gen_", 4);
    out[4 + tc_base64url(out + 4, mac, 16)] = '\0';
}

static int parse(struct start_op *op, const struct http_request *req, const char **why) {
    trace_take(&op->trace, req);
    int err = start_request_parse(&op->req, req->body, why);
    if (err != 0)
        return err;
    op->stream = http_accepts(req, "text/event-stream") || http_accepts(req, "application/x-ndjson");
    if (op->stream && params_parse(&op->params, req, false, why) != 0)
        return TC_EINVAL;
    op->params.wait_ms = -1;
    struct tc_str key = http_header(req, "idempotency-key");
    *why = "Idempotency-Key is 1 to 255 bytes, and cannot be combined with an id";
    if (key.p != NULL && (key.n == 0 || key.n > 255 || op->req.id[0] != '\0'))
        return TC_EINVAL;
    op->idempotent = key.n > 0;
    if (op->idempotent)
        id_from_key(op->api, key, op->req.id);
    return 0;
}

static void set_keys(struct start_op *op) {
    tc_key_gen(op->log, op->api->opts.prefix, TC_KEY_LOG, op->req.id);
    tc_key_gen(op->meta, op->api->opts.prefix, TC_KEY_META, op->req.id);
}

/* Where some of a Cluster is away, an id is drawn that lies in the rest. */
static void draw_id(struct start_op *op) {
    for (int i = 0; i < ID_DRAWS; i++) {
        tc_id_make(op->req.id);
        set_keys(op);
        if (tc_redis_reaches(op->api->redis, tc_str_from(op->log)))
            return;
    }
}

/* Nothing is begun that is known to get stuck halfway. */
static bool reaches_all(const struct start_op *op) {
    char room[TC_KEY_MAX];
    struct tc_str channel = {room, tc_key_channel(room, op->api->opts.prefix, op->req.channel, false)};
    return tc_redis_reaches(op->api->redis, tc_str_from(op->log)) &&
           (op->req.channel[0] == '\0' || tc_redis_reaches(op->api->redis, channel));
}

void api_start(struct api *a, struct http_conn *conn, const struct http_request *req, const char *none) {
    (void)none;
    char jobs[TC_KEY_MAX];
    const char *closed = api_closed(a, (struct tc_str){jobs, tc_key_jobs(jobs, a->opts.prefix, a->opts.queue)});
    if (closed == NULL && http_header(req, "idempotency-key").n > 0 && !a->has_secret)
        closed = "The secret that all brokers share has not come from Redis yet; nothing was begun.";
    if (closed != NULL) {
        api_unavailable(a, conn, closed);
        return;
    }
    struct start_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        return;
    }
    op->api = a;
    op->conn = conn;
    const char *why = "";
    int err = parse(op, req, &why);
    if (err != 0) {
        if (err == TC_ENOMEM)
            http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        else
            http_problem(conn, 400, "bad-request", "Bad request", why);
        op->over = true;
        maybe_free(op);
        return;
    }
    bool may_exist = op->req.id[0] != '\0';
    if (may_exist)
        set_keys(op);
    else
        draw_id(op);
    http_on_gone(conn, on_gone, op);
    if (!reaches_all(op))
        fail(op, "The part of Redis that this generation belongs to cannot be reached; nothing was started.");
    else if (may_exist)
        look(op);
    else
        create(op);
    maybe_free(op);
}
