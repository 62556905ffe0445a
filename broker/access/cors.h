/* Cross-origin rules (Fetch standard, CORS protocol): closed by default, opened for listed origins or "*". Pure. */
#ifndef BROKER_ACCESS_CORS_H
#define BROKER_ACCESS_CORS_H

#include "base/attr.h"
#include "base/buf.h"
#include "http/http.h"

#define CORS_MAX_ORIGINS 32

struct cors {
    struct tc_str origins[CORS_MAX_ORIGINS]; /* borrowed from the option text */
    size_t count;
    bool any; /* "*" was listed */
};

/* "https://a.example,http://localhost:3000" or "*" or NULL. TC_ESYNTAX for what is not an origin. */
TC_MUST_USE int cors_parse(struct cors *c, const char *list);
/* Appends the response header lines for this request (Access-Control-Allow-Origin, Vary, Expose-Headers); nothing if
 * there is no Origin or it is not allowed. */
void cors_headers(const struct cors *c, const struct http_request *req, struct tc_buf *lines);
/* true and the lines of a 204 answer if req is a preflight from an allowed origin. */
bool cors_preflight(const struct cors *c, const struct http_request *req, struct tc_buf *lines);

#endif
