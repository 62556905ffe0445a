/* hiredis's RESP reader, passed by where a value can be taken as it lies (plain.h, push.h), with bounds: what a broken
 * or hostile server says costs at most TC_READER_MAX_BYTES for one reply, and an announced array is believed only up to
 * TC_READER_MAX_ELEMENTS. Loop thread. */
#ifndef TC_REDIS_READER_H
#define TC_REDIS_READER_H

#include "base/attr.h"
#include "base/buf.h"

#include "redis/push.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#define TC_READER_MAX_BYTES    ((size_t)512 << 20) /* Redis's own bound on a string */
#define TC_READER_MAX_ELEMENTS (1 << 20)
#define TC_READER_TOGETHER     16

typedef bool (*tc_reader_reply_cb)(void *arg, const redisReply *reply);

struct tc_reader {
    redisReader *hiredis;                     /* owned; NULL while not in use */
    redisReplyObjectFunctions plain, bounded; /* hiredis's own, and the same with a bound on arrays */
    size_t partial;                           /* bytes fed since the last whole reply, about */
    const char *too_much;                     /* which bound was passed; NULL = none */

    /* Set between init and fini on a connection that subscribes: published messages come here (push.h) and not as
     * replies, unless one begins inside of what hiredis was given. Up to TC_READER_TOGETHER that lie there one behind
     * the other; borrowed for the call; false stops as in on_reply. */
    bool (*on_messages)(void *arg, const struct tc_push *messages, size_t n);
    struct tc_buf held; /* the beginning of a message that is not whole yet */
    size_t needed;      /* with so many bytes it is looked at again */
};

/* TC_ENOMEM. An initialised reader must not be moved. */
TC_MUST_USE int tc_reader_init(struct tc_reader *r);
void tc_reader_fini(struct tc_reader *r); /* accepts zeroed memory; not from inside on_reply */

/* Takes n bytes and calls on_reply for each reply that they complete; the reply is borrowed for the call. on_reply
 * returns false to stop: the rest is dropped and 0 returned. TC_EPROTO (a passed bound included), TC_ENOMEM: of no more
 * use. */
TC_MUST_USE int tc_reader_feed(struct tc_reader *r, const char *p, size_t n, tc_reader_reply_cb on_reply, void *arg);

/* Why it failed, for people; valid after a failed feed until fini. */
const char *tc_reader_reason(const struct tc_reader *r);

#endif
