/* What a model server says when it fails, in the many shapes that servers use, and as much of it as people may see.
 * Pure. */
#ifndef WORKER_PROVIDER_FAULT_H
#define WORKER_PROVIDER_FAULT_H

#include "base/buf.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What an error object says. Strings are borrowed from it. */
struct fault {
    struct tc_str message, type;
    int64_t status;   /* HTTP status it names; 0 = none */
    bool recoverable; /* the same request may succeed later */
};

/* Reads {"error":{…}}, {"error":"…","error_type":…}, {"object":"error","message":…}, {"detail":…}, {"message":…}. False
 * if there is no error in it; `"error": null` is none. `sure`: the frame says that it is an error (event: error, an
 * HTTP error body), so that every shape counts. */
bool fault_read(struct fault *out, const json_t *root, bool sure);

/* Is a status worth a retry: time-outs, limits, and what is the server's own fault. */
bool fault_status_retries(int64_t status);

/* Is a status about what was asked, so that another request may be taken where this one was not. */
bool fault_status_refuses(int64_t status);

/* `text` as it may be shown to people: `secret` and whatever looks like a key is replaced, control characters become
 * spaces, the end is cut to `max` bytes. secret may be NULL. */
void fault_scrub(struct tc_buf *out, struct tc_str text, const char *secret, size_t max);

/* "The model server answered 503: <its words>" from an HTTP error's status and body, scrubbed. What it says about keys
 * and accounts is the operator's and left out. */
void fault_describe(struct tc_buf *out, long status, struct tc_str body, const char *secret);

#endif
