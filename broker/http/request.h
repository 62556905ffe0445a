/* Cuts a byte stream into whole requests: head, body (by length or chunked), and the bytes of the next ones. Pure: no
 * sockets and no time. Memory is bounded by max_head + max_body; a peer's length is never allocated before its bytes.
 */
#ifndef BROKER_HTTP_REQUEST_H
#define BROKER_HTTP_REQUEST_H

#include "base/attr.h"
#include "base/buf.h"
#include "http/chunked.h"
#include "http/head.h"
#include "http/http.h"

enum request_phase { REQUEST_HEAD = 0, REQUEST_LENGTH, REQUEST_CHUNKED, REQUEST_WHOLE };

struct request {
    struct tc_buf raw; /* head, decoded body, then what has not been looked at */
    size_t max_head, max_body;
    enum request_phase phase;
    struct head_scan scan;
    struct head head;
    struct chunked chunked;
    size_t body_at, body_len;
    size_t rest_at;             /* first byte after what was consumed */
    struct http_request parsed; /* valid while REQUEST_WHOLE */
    const char *why;            /* static sentence on a refusal */
};

void request_init(struct request *r, size_t max_head, size_t max_body);
void request_fini(struct request *r);

/* How many more bytes may be appended; never 0 before the request is whole or refused. */
size_t request_room(const struct request *r);
/* Appends at most request_room() bytes; TC_ENOMEM. */
TC_MUST_USE int request_append(struct request *r, const char *p, size_t n);
/* 1: r->parsed is whole. 0: more bytes needed. Else the HTTP status to refuse it with, r->why the reason. */
TC_MUST_USE int request_parse(struct request *r);
/* The peer waits for "100 Continue" and has sent none of its body; true once. */
bool request_wants_continue(struct request *r);
/* Forgets the whole request; true if bytes of a next one are there. */
bool request_next(struct request *r);

#endif
