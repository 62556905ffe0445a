/* JSON that a model server sent: parsed leniently, read without trust, and the many shapes of an error in it. Pure. */
#ifndef WORKER_PROVIDER_FOREIGN_H
#define WORKER_PROVIDER_FOREIGN_H

#include "base/buf.h"
#include "base/str.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A new reference, or NULL if it is not JSON. Bytes that are not UTF-8 are read as U+FFFD: a server that cuts inside
 * a character costs that character, not the answer. */
json_t *foreign_json(struct tc_str text);

/* A member's string; empty where it is absent or something else. Borrowed from the value. */
struct tc_str foreign_str(const json_t *object, const char *name);
struct tc_str foreign_value(const json_t *value);

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

/* `text` as it may be shown to people: `secret` and whatever looks like a key is replaced, control characters become
 * spaces, the end is cut to `max` bytes. secret may be NULL. */
void fault_scrub(struct tc_buf *out, struct tc_str text, const char *secret, size_t max);

#endif
