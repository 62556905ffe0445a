/* The tool calls of one generation: arguments collected by index, so that they can be checked when they are whole.
 * Caller's memory; zeroed is empty. */
#ifndef WORKER_PUBLISH_TOOL_H
#define WORKER_PUBLISH_TOOL_H

#include "base/attr.h"
#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOOLS_MAX          256             /* tool calls of one generation */
#define TOOL_ARGUMENTS_MAX (1024U * 1024U) /* bytes of one call's arguments */

struct tool {
    uint32_t index;
    struct tc_buf arguments; /* as said so far */
    uint64_t units;          /* UTF-16 length of arguments */
    bool done;
};

struct tools {
    struct tool *items; /* owned */
    size_t count, cap;
};

void tools_fini(struct tools *t);

/* A piece of the arguments of call `index`; *offset is their length before it. TC_ETOOLARGE past a bound, TC_ENOMEM,
 * TC_ESTATE when the call is done already. */
TC_MUST_USE int tools_append(struct tools *t, uint32_t index, struct tc_str piece, uint64_t *offset);

/* Call `index` (known to tools_append) is whole: *invalid tells that its arguments are not JSON. The collected bytes
 * are given back to the system. TC_ENOMEM: that cannot be told, and nothing has changed. */
TC_MUST_USE int tools_finish(struct tools *t, uint32_t index, bool *invalid);

bool tools_is_empty(const struct tools *t, uint32_t index); /* no argument was said, or no such call */

#endif
