/* A channel's composite position: `<ms>-<n>` of the newest announcement read, then for every generation that is not
 * over `~<id>:<attempt>-<seq>`. Pure. */
#ifndef BROKER_FEED_VECTOR_H
#define BROKER_FEED_VECTOR_H

#include "base/attr.h"
#include "base/buf.h"
#include "tokencast/position.h"
#include "wire/keys.h"

#define VECTOR_MAX      64 /* generations live in one channel at once that a reader is shown */
#define VECTOR_TEXT_MAX (TC_POSITION_MAX + VECTOR_MAX * (TC_ID_MAX + TC_POSITION_MAX + 2))

struct vector_item {
    char id[TC_ID_MAX + 1];
    struct tc_position pos;
};

struct vector {
    struct tc_position announced; /* a stream id of the channel's log: milliseconds, number */
    struct vector_item items[VECTOR_MAX];
    size_t count;
};

TC_MUST_USE int vector_parse(struct vector *v, struct tc_str text); /* TC_ESYNTAX */
void vector_format(const struct vector *v, struct tc_buf *out);
struct vector_item *vector_find(struct vector *v, const char *id); /* NULL if absent */
/* Sets or adds; TC_EFULL. */
TC_MUST_USE int vector_set(struct vector *v, const char *id, struct tc_position pos);
void vector_remove(struct vector *v, const char *id);

#endif
