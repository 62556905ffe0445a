/* The head of one request: request line and fields, parsed from memory, with the rules on framing that keep this server
 * and a proxy before it from disagreeing on where a request ends (RFC 9112, 6.3 and 11.2). Pure. */
#ifndef BROKER_HTTP_HEAD_H
#define BROKER_HTTP_HEAD_H

#include "base/attr.h"
#include "http/http.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct head_span { /* a piece of the head's text, which may move */
    uint32_t at, n;
};

struct head {
    enum http_method method;
    bool http10;
    bool chunked;            /* the body is chunked; else content_length bytes */
    bool keep_alive;         /* the peer does not mind another request */
    bool expect_continue;    /* waits for 100 before it sends the body */
    bool complete, too_many; /* set while the parser runs */
    unsigned version;        /* 11 for HTTP/1.1 */
    unsigned parsed_method;  /* the parser's number for it */
    uint64_t content_length;
    struct head_span target;
    struct head_span names[HTTP_MAX_HEADERS]; /* lower-cased in place */
    struct head_span values[HTTP_MAX_HEADERS];
    size_t count;
    const char *text; /* borrowed during head_parse */
    const char *why;  /* static sentence on the refusal */
};

/* Finds the end of a head byte by byte, refusing what no parser should have to interpret: control characters, bare CR
 * or LF, folded lines. Zeroed memory is the start. */
struct head_scan {
    size_t at;    /* bytes scanned */
    size_t start; /* where the request line begins, after empty lines that a client may send first */
    size_t line;  /* bytes in this line */
    unsigned lines;
    bool cr; /* the last byte was CR */
};

/* 1: whole, it ends at scan->at. 0: more bytes needed. Else the status to answer; *why gets a sentence. */
TC_MUST_USE int head_scan(struct head_scan *s, const char *text, size_t n, size_t max, const char **why);

/* Parses a whole scanned head. 0, or the status to answer, with h->why. */
TC_MUST_USE int head_parse(struct head *h, char *text, size_t n);

#endif
