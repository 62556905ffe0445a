/* Happy path: XINFO GROUPS -> what was delivered last -> XRANGE of the ids behind it -> those who wait are told. Fails:
 * nothing is known, they are told all the same, and the next sweep looks again. */
#include "feed/queue.h"

#include "redis/reply.h"
#include "tokencast/error.h"

#include <string.h>

#define GROUP    "workers"
#define FRESH_MS 100 /* what is asked meanwhile is answered from the last look */

static bool parse(const char *job, struct tc_position *out) {
    return job[0] != '\0' && tc_position_parse(job, strlen(job), out) == 0;
}

/* How many of the jobs are before this one: its index, if it is among them. */
static unsigned index_of(const struct queue *q, struct tc_position job) {
    unsigned low = 0, high = q->count;
    while (low < high) {
        unsigned mid = (low + high) / 2;
        if (tc_position_cmp(q->jobs[mid], job) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int64_t queue_ahead(const struct hub *h, const char *job) {
    struct tc_position pos;
    return h->queue.known && parse(job, &pos) ? (int64_t)index_of(&h->queue, pos) : -1;
}

bool queue_holds(const struct hub *h, const char *job) {
    const struct queue *q = &h->queue;
    struct tc_position pos;
    if (!q->known || hub_now_ms(h) - q->looked_ms > (uint64_t)h->opts.sweep_ms || !parse(job, &pos))
        return false;
    unsigned i = index_of(q, pos);
    return i < q->seen && tc_position_cmp(q->jobs[i], pos) == 0;
}

/* A job that came after the look waits behind all that the look saw, and before those that come later. */
static void note(struct queue *q, const char *job) {
    struct tc_position pos;
    if (!q->known || q->count == QUEUE_JOBS || !parse(job, &pos))
        return;
    unsigned i = index_of(q, pos);
    if (i < q->seen || tc_position_cmp(pos, q->delivered) <= 0)
        return; /* seen, or taken by a worker */
    if (i < q->count && tc_position_cmp(q->jobs[i], pos) == 0)
        return;
    memmove(&q->jobs[i + 1], &q->jobs[i], (q->count - i) * sizeof q->jobs[0]);
    q->jobs[i] = pos;
    q->count++;
}

/* ---- looking ---- */

static void look_done(struct hub *h, bool known) {
    struct queue *q = &h->queue;
    struct tc_list told;
    q->looking = false;
    q->known = known && !q->stale;
    q->looked_ms = q->asked_ms;
    tc_list_move(&q->waits, &told);
    while (!tc_list_empty(&told)) {
        struct queue_wait *w = TC_CONTAINER_OF(told.next, struct queue_wait, node);
        tc_list_remove(&w->node);
        note(q, w->job);
        w->cb(w->arg);
    }
}

static void on_jobs(void *arg, int err, const redisReply *reply) {
    struct hub *h = arg;
    struct queue *q = &h->queue;
    bool good = err == 0 && reply->type == REDIS_REPLY_ARRAY;
    q->count = 0;
    for (size_t i = 0; good && i < reply->elements && q->count < QUEUE_JOBS; i++) {
        struct tc_reply_entry e;
        if (tc_reply_entry(reply, i, &e) == 0)
            q->jobs[q->count++] = e.position;
    }
    q->seen = q->count;
    look_done(h, good);
}

/* From the reply to XINFO GROUPS. Before the first worker comes there is no group, and every job waits. */
static bool find_delivered(const redisReply *groups, struct tc_position *out) {
    *out = (struct tc_position){0, 0};
    if (groups->type != REDIS_REPLY_ARRAY)
        return false;
    for (size_t i = 0; i < groups->elements; i++) {
        struct tc_str id = tc_reply_field(groups->element[i], "last-delivered-id");
        if (tc_str_is(tc_reply_field(groups->element[i], "name"), GROUP))
            return tc_position_parse(id.p, id.n, out) == 0;
    }
    return true;
}

static struct tc_str jobs_key(const struct hub *h, char *out) {
    return (struct tc_str){out, tc_key_jobs(out, h->opts.prefix, h->opts.queue)};
}

static void on_groups(void *arg, int err, const redisReply *reply) {
    struct hub *h = arg;
    struct queue *q = &h->queue;
    char key[TC_KEY_MAX], after[TC_POSITION_MAX];
    struct tc_str jobs = jobs_key(h, key);
    if (err != 0 || !find_delivered(reply, &q->delivered)) {
        look_done(h, false);
        return;
    }
    tc_position_format(q->delivered, after);
    if (tc_redis_command(h->redis, jobs, on_jobs, h, "XRANGE %s (%s + COUNT %d", key, after, QUEUE_JOBS) != 0)
        look_done(h, false);
}

static bool look(struct hub *h) {
    struct queue *q = &h->queue;
    char key[TC_KEY_MAX];
    struct tc_str jobs = jobs_key(h, key);
    if (q->looking)
        return true;
    q->stale = false;
    q->asked_ms = hub_now_ms(h);
    q->looking = tc_redis_command(h->redis, jobs, on_groups, h, "XINFO GROUPS %s", key) == 0;
    return q->looking;
}

static bool is_fresh(const struct hub *h) {
    return h->queue.known && hub_now_ms(h) - h->queue.looked_ms < FRESH_MS;
}

bool queue_ask(struct hub *h, struct queue_wait *w) {
    if (!h->queue.looking && is_fresh(h)) {
        note(&h->queue, w->job);
        return false;
    }
    if (!look(h))
        return false;
    tc_list_add_tail(&h->queue.waits, &w->node);
    return true;
}

void queue_sweep(struct hub *h) {
    bool wanted = h->queue.wanted;
    h->queue.wanted = false;
    if (wanted && !is_fresh(h))
        (void)look(h);
}

void queue_forget(struct hub *h) {
    h->queue.known = false;
    h->queue.stale = true; /* an answer on its way is older */
}
