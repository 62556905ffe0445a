/* Reading redisReply trees without trusting their shape. */
#ifndef TC_REDIS_REPLY_H
#define TC_REDIS_REPLY_H

#include "base/attr.h"
#include "base/str.h"
#include "tokencast/position.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>

bool tc_reply_is_error(const redisReply *r, const char *prefix); /* prefix "OOM", "NOAUTH", …; NULL = any error */
struct tc_str tc_reply_str(const redisReply *r);                 /* string, status or error; else empty */
bool tc_reply_int(const redisReply *r, int64_t *out);            /* integer, or a string that is one */

/* One entry of an XRANGE reply (element i of it). `e` is the value of the field "e"; n = 0 and *has_e false if there is
 * none. TC_EPROTO when the shape or the id is not a stream entry's. */
struct tc_reply_entry {
    struct tc_position position;
    struct tc_str e;
    bool has_e;
};
TC_MUST_USE int tc_reply_entry(const redisReply *range, size_t i, struct tc_reply_entry *out);

/* Value of a field in a flat [field, value, …] array (HGETALL, entry bodies); empty if absent. */
struct tc_str tc_reply_field(const redisReply *flat, const char *field);

#endif
