/* How much text was said so far, by kind and index, in UTF-16 units: where the next piece's `offset` comes from.
 * Caller's memory, no allocation; zeroed is empty. */
#ifndef WORKER_PUBLISH_LENGTHS_H
#define WORKER_PUBLISH_LENGTHS_H

#include "base/attr.h"
#include "tokencast/event.h"

#include <stddef.h>
#include <stdint.h>

#define LENGTHS_MAX 64 /* (kind, index) pairs of one generation; readers keep no more either */

struct lengths {
    struct {
        enum tc_kind kind;
        uint32_t index;
        uint64_t units;
    } rows[LENGTHS_MAX];
    size_t count;
};

/* Adds `units` to (kind, index); *offset is the length before. TC_ETOOLARGE past LENGTHS_MAX pairs. */
TC_MUST_USE int lengths_add(struct lengths *l, enum tc_kind kind, uint32_t index, uint64_t units, uint64_t *offset);

uint64_t lengths_get(const struct lengths *l, enum tc_kind kind, uint32_t index); /* 0 if never said */

#endif
