/* The bounded RESP reader (see reader.h). Loop thread; owned by one struct tc_conn. */
#include "redis/reader.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

/* hiredis moves what it has not parsed to the front of its buffer every kilobyte it consumed: small helpings keep that
 * move short when a read brings hundreds of small replies. */
#define HELPING 8192

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
    memset(r, 0, sizeof(*r));
}

static int translate(const struct tc_reader *r) {
    return r->hiredis->err == REDIS_ERR_OOM && !r->too_much ? TC_ENOMEM : TC_EPROTO;
}

/* Hands over the replies that are whole. 0 when it needs more bytes, 1 when on_reply had enough. */
static int take(struct tc_reader *r, bool (*on_reply)(void *arg, const redisReply *reply), void *arg) {
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
            return 1;
    }
}

int tc_reader_feed(struct tc_reader *r, const char *p, size_t n, bool (*on_reply)(void *arg, const redisReply *reply),
                   void *arg) {
    int rc = 0;
    while (n > 0 && rc == 0) {
        size_t part = n < HELPING ? n : HELPING;
        r->partial += part;
        if (r->partial > TC_READER_MAX_BYTES) {
            r->too_much = "a reply larger than the limit";
            rc = TC_EPROTO;
        } else if (redisReaderFeed(r->hiredis, p, part) != REDIS_OK) {
            rc = translate(r);
        } else {
            rc = take(r, on_reply, arg);
        }
        p += part;
        n -= part;
    }
    return rc > 0 ? 0 : rc;
}

const char *tc_reader_reason(const struct tc_reader *r) {
    if (r->too_much)
        return r->too_much;
    return r->hiredis && r->hiredis->err ? r->hiredis->errstr : "malformed reply";
}
