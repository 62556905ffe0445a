/* JSON that a model server sent: parsed leniently, read without trust. Pure. */
#ifndef WORKER_PROVIDER_FOREIGN_H
#define WORKER_PROVIDER_FOREIGN_H

#include "base/str.h"

#include <jansson.h>

/* A new reference, or NULL if it is not JSON. Bytes that are not UTF-8 are read as U+FFFD: a server that cuts inside
 * a character costs that character, not the answer. */
json_t *foreign_json(struct tc_str text);

/* A member's string; empty where it is absent or something else. Borrowed from the value. */
struct tc_str foreign_str(const json_t *object, const char *name);
struct tc_str foreign_value(const json_t *value);

#endif
