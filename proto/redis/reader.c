/* The bounded RESP reader (see reader.h). Loop thread; owned by one struct tc_conn. */
#include "redis/reader.h"

#include "redis/plain.h"
#include "redis/push.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

/* hiredis moves what it has not parsed to the front of its buffer every kilobyte it consumed: small helpings keep that
 * move short when a read brings hundreds of small replies. */
#define HELPING  8192
#define HELD_MAX 65536 /* bytes of memory that are kept for the next message that comes in pieces */
#define STOPPED  1     /* a callback had enough */

#if HIREDIS_MAJOR >= 1
typedef size_t element_count;
#else
typedef int element_count;
#endif

/* A count is only a claim until the elements arrive, but hiredis allocates for all of them at once. */
static void *create_array(const redisReadTask *task, element_count n) {
    struct tc_reader *r = task->privdata;
    if (n > TC_READER_MAX_ELEMENTS) {
        r->too_much = "an array longer than the limit";
        return NULL;
    }
    return r->plain.createArray(task, n);
}

int tc_reader_init(struct tc_reader *r) {
    memset(r, 0, sizeof(*r));
    r->hiredis = redisReaderCreate();
    if (!r->hiredis)
        return TC_ENOMEM;
    r->plain = r->bounded = *r->hiredis->fn;
    r->bounded.createArray = create_array;
    r->hiredis->fn = &r->bounded;
    r->hiredis->privdata = r;
    return 0;
}

void tc_reader_fini(struct tc_reader *r) {
    if (r->hiredis)
        redisReaderFree(r->hiredis);
    tc_buf_fini(&r->held);
    memset(r, 0, sizeof(*r));
}

static int translate(const struct tc_reader *r) {
    return r->hiredis->err == REDIS_ERR_OOM && !r->too_much ? TC_ENOMEM : TC_EPROTO;
}

/* Hands over the replies that are whole. 0 when it needs more bytes, STOPPED when on_reply had enough. */
static int take_replies(struct tc_reader *r, tc_reader_reply_cb on_reply, void *arg) {
    for (;;) {
        void *reply = NULL;
        if (redisReaderGetReply(r->hiredis, &reply) != REDIS_OK)
            return translate(r);
        if (!reply)
            return 0;
        r->partial = r->hiredis->len - r->hiredis->pos;
        bool more = on_reply(arg, reply);
        freeReplyObject(reply);
        if (!more)
            return STOPPED;
    }
}

static int feed_hiredis(struct tc_reader *r, struct tc_str part, tc_reader_reply_cb on_reply, void *arg) {
    r->partial += part.n;
    if (r->partial > TC_READER_MAX_BYTES) {
        r->too_much = "a reply larger than the limit";
        return TC_EPROTO;
    }
    if (redisReaderFeed(r->hiredis, part.p, part.n) != REDIS_OK)
        return translate(r);
    return take_replies(r, on_reply, arg);
}

static struct tc_str cut(struct tc_str *in, size_t n) {
    struct tc_str head = {in->p, n};
    in->p += n;
    in->n -= n;
    return head;
}

/* Completes the message that is held. */
static int take_held(struct tc_reader *r, struct tc_str *in, tc_reader_reply_cb on_reply, void *arg) {
    struct tc_push m;
    size_t missing = r->needed - r->held.len;
    tc_buf_put_str(&r->held, cut(in, missing < in->n ? missing : in->n));
    if (!tc_buf_ok(&r->held))
        return TC_ENOMEM;
    if (r->held.len < r->needed)
        return 0;
    int rc = 0;
    switch (tc_push_scan(r->held.data, r->held.len, &m)) {
    case TC_PUSH_PART:
        r->needed = m.size;
        return 0;
    case TC_PUSH_WHOLE:
        rc = r->on_messages(arg, &m, 1) ? 0 : STOPPED;
        break;
    case TC_PUSH_OTHER:
        rc = feed_hiredis(r, tc_buf_str(&r->held), on_reply, arg);
        break;
    }
    if (r->held.cap > HELD_MAX)
        tc_buf_fini(&r->held);
    else
        tc_buf_reset(&r->held);
    return rc;
}

/* The messages that lie there one behind the other. `out` has a place more, for what is behind them: *behind says what
 * that is. Takes them off *in. */
static size_t scan_messages(struct tc_str *in, struct tc_push *out, enum tc_push_found *behind) {
    size_t n = 0;
    *behind = TC_PUSH_OTHER;
    while (n < TC_READER_TOGETHER && in->n > 0 && (*behind = tc_push_scan(in->p, in->n, &out[n])) == TC_PUSH_WHOLE)
        (void)cut(in, out[n++].size);
    return n;
}

/* Takes messages as they lie, up to something else. */
static int take_messages(struct tc_reader *r, struct tc_str *in, void *arg) {
    struct tc_push m[TC_READER_TOGETHER + 1];
    enum tc_push_found behind;
    size_t n;
    do {
        n = scan_messages(in, m, &behind);
        if (n > 0 && !r->on_messages(arg, m, n))
            return STOPPED;
    } while (n == TC_READER_TOGETHER);
    if (in->n == 0 || behind == TC_PUSH_OTHER)
        return 0;
    r->needed = m[n].size;
    tc_buf_put_str(&r->held, cut(in, in->n));
    return tc_buf_ok(&r->held) ? 0 : TC_ENOMEM;
}

/* Takes short replies as they lie, up to something else. */
static int take_plain(struct tc_str *in, tc_reader_reply_cb on_reply, void *arg) {
    struct tc_plain plain;
    size_t size;
    while (in->n > 0 && (size = tc_plain_scan(in->p, in->n, &plain)) > 0) {
        (void)cut(in, size);
        if (!on_reply(arg, &plain.reply))
            return STOPPED;
    }
    return 0;
}

/* One helping: ends where a message may begin, which is then taken by itself. */
static size_t helping(const struct tc_reader *r, struct tc_str in) {
    size_t n = in.n < HELPING ? in.n : HELPING;
    return r->on_messages ? tc_push_seek(in.p, n) : n;
}

int tc_reader_feed(struct tc_reader *r, const char *p, size_t n, tc_reader_reply_cb on_reply, void *arg) {
    struct tc_str in = {p, n};
    int rc = 0;
    while (in.n > 0 && rc == 0) {
        if (r->held.len > 0) {
            rc = take_held(r, &in, on_reply, arg);
            continue;
        }
        if (r->partial == 0)
            rc = r->on_messages ? take_messages(r, &in, arg) : take_plain(&in, on_reply, arg);
        if (rc == 0 && in.n > 0)
            rc = feed_hiredis(r, cut(&in, helping(r, in)), on_reply, arg);
    }
    return rc == STOPPED ? 0 : rc;
}

const char *tc_reader_reason(const struct tc_reader *r) {
    if (r->too_much)
        return r->too_much;
    return r->hiredis && r->hiredis->err ? r->hiredis->errstr : "malformed reply";
}
