/* Writing JSON text (RFC 8259) straight into a buffer, for the hot path; jansson reads and builds elsewhere. */
#ifndef TC_WIRE_JSON_H
#define TC_WIRE_JSON_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/str.h"

#include <jansson.h>

/* A quoted string. Control characters, quote and backslash are escaped; so are U+2028 and U+2029; each byte that is
 * not UTF-8 becomes U+FFFD. No raw CR or LF ever comes out (SSE lines rely on it). */
void tc_json_string(struct tc_buf *out, struct tc_str s);
void tc_json_double(struct tc_buf *out, double d); /* shortest text that reads back equal; non-finite: null */

/* jansson does not notice every allocation that fails: a string comes out cut off, a member is left out. From this call
 * on, made before there are threads and values, failures are counted, a thread. */
void tc_json_count_failures(void);
unsigned tc_json_failures(void); /* so far; equal before and after: nothing went missing in between */
/* A new reference; NULL, and *err TC_ESYNTAX or TC_ENOMEM. `flags` and `where` (may be NULL) as for json_loadb(). */
json_t *tc_json_load(struct tc_str text, size_t flags, json_error_t *where, int *err);

/* A jansson value as MessagePack; containers deeper than an event may hold (TC_EVENT_MAX_DEPTH - 1) become nil. And one
 * MessagePack value as jansson: a new reference, or NULL with the bytes malformed, too deep, too many (at most 100,000
 * values), an integer beyond 64 bits signed, or a NUL in a key. Of equal keys the last counts. */
void tc_json_to_mp(struct tc_buf *out, const json_t *value);
json_t *tc_mp_to_jansson(struct tc_str bytes);

#endif
