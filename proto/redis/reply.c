/* Careful access to redisReply trees (see reply.h). Pure functions. */
#include "redis/reply.h"

#include "tokencast/error.h"

#include <stdint.h>
#include <string.h>

bool tc_reply_is_error(const redisReply *r, const char *prefix) {
    if (!r || r->type != REDIS_REPLY_ERROR)
        return false;
    if (!prefix)
        return true;
    size_t n = strlen(prefix);
    struct tc_str text = tc_reply_str(r);
    if (text.p == NULL || text.n < n || memcmp(text.p, prefix, n) != 0)
        return false;
    return text.n == n || text.p[n] == ' '; /* a whole word: "NOAUTH" is not "NOAUTHORITY" */
}

struct tc_str tc_reply_str(const redisReply *r) {
    if (r && r->str && (r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS || r->type == REDIS_REPLY_ERROR))
        return (struct tc_str){r->str, (size_t)r->len};
    return (struct tc_str){NULL, 0};
}

/* Decimal with an optional minus, nothing around it, within int64_t. */
static bool parse_int(struct tc_str s, int64_t *out) {
    bool negative = s.n > 0 && s.p[0] == '-';
    size_t i = negative ? 1 : 0;
    if (i == s.n)
        return false;
    const uint64_t bound = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    uint64_t v = 0;
    for (; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
        uint64_t digit = (uint64_t)(s.p[i] - '0');
        if (v > (bound - digit) / 10)
            return false;
        v = v * 10 + digit;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool tc_reply_int(const redisReply *r, int64_t *out) {
    if (!r)
        return false;
    if (r->type == REDIS_REPLY_INTEGER) {
        *out = r->integer;
        return true;
    }
    return r->type == REDIS_REPLY_STRING && parse_int(tc_reply_str(r), out);
}

static const redisReply *element(const redisReply *array, size_t i) {
    if (!array || array->type != REDIS_REPLY_ARRAY || i >= array->elements)
        return NULL;
    return array->element[i];
}

/* Finds the value of `field`; NULL if absent. */
static const redisReply *find(const redisReply *flat, const char *field) {
    if (!flat || flat->type != REDIS_REPLY_ARRAY)
        return NULL;
    for (size_t i = 0; i + 1 < flat->elements; i += 2)
        if (tc_str_is(tc_reply_str(flat->element[i]), field))
            return flat->element[i + 1];
    return NULL;
}

struct tc_str tc_reply_field(const redisReply *flat, const char *field) {
    return tc_reply_str(find(flat, field));
}

int tc_reply_entry(const redisReply *range, size_t i, struct tc_reply_entry *out) {
    const redisReply *entry = element(range, i);
    const redisReply *body = element(entry, 1);
    struct tc_str id = tc_reply_str(element(entry, 0));
    memset(out, 0, sizeof(*out));
    if (entry && entry->elements != 2)
        return TC_EPROTO;
    /* A nil body is an entry that XCLAIM found deleted: it has an id and no fields. */
    if (!body || (body->type != REDIS_REPLY_ARRAY && body->type != REDIS_REPLY_NIL))
        return TC_EPROTO;
    if (id.n == 0 || tc_position_parse(id.p, id.n, &out->position) != 0)
        return TC_EPROTO;
    const redisReply *e = find(body, "e");
    out->has_e = e && e->type == REDIS_REPLY_STRING;
    out->e = out->has_e ? tc_reply_str(e) : (struct tc_str){NULL, 0};
    return 0;
}
