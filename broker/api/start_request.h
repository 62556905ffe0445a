/* What a client asks to be generated, checked: the body of POST /v1/generations. */
#ifndef BROKER_API_START_REQUEST_H
#define BROKER_API_START_REQUEST_H

#include "base/attr.h"
#include "base/buf.h"
#include "wire/keys.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct start_request {
    char id[TC_ID_MAX + 1];           /* "" = none given */
    char channel[TC_CHANNEL_MAX + 1]; /* "" = none */
    char model[129];                  /* "" = the worker's default */
    char on_crash[12];                /* "continue", "restart", "fail" */
    int64_t on_abandon_ms;            /* -1: a generation that nobody watches goes on */
    struct tc_buf request;            /* what the worker's provider gets, compact JSON */
};

/* A static sentence for people in *why on TC_EINVAL; TC_ENOMEM. start_request_fini() in any case. */
TC_MUST_USE int start_request_parse(struct start_request *r, struct tc_str body, const char **why);
void start_request_fini(struct start_request *r);

#endif
