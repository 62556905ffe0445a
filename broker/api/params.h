/* The parameters of a stream request, read and checked once. Pure. */
#ifndef BROKER_API_PARAMS_H
#define BROKER_API_PARAMS_H

#include "base/attr.h"
#include "feed/sub.h"
#include "feed/track.h"
#include "feed/vector.h"
#include "http/http.h"

struct params {
    struct track_key key;
    enum sub_policy policy;
    bool after_now; /* ?after=now */
    bool has_after;
    struct tc_position after;         /* generations: {0,0} = from the start */
    char after_text[VECTOR_TEXT_MAX]; /* channels: composite */
    bool has_until;
    struct tc_position until;
    int64_t wait_ms; /* -1: not a long poll */
};

/* Last-Event-ID wins over ?after=: it is the newer of the two after a reconnection. `composite`: positions are a
 * channel's and are only copied. On error a static sentence for people in *why, and TC_ESYNTAX. */
TC_MUST_USE int params_parse(struct params *p, const struct http_request *req, bool composite, const char **why);

#endif
