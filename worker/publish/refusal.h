/* What a refused write means: Redis's error texts, read in one place. Pure functions. */
#ifndef WORKER_PUBLISH_REFUSAL_H
#define WORKER_PUBLISH_REFUSAL_H

#include <hiredis/hiredis.h>

enum refusal {
    REFUSAL_NONE = 0, /* not an error reply */
    REFUSAL_STALE,    /* the id is equal to or smaller than the last one: look at the tail (rule 5) */
    REFUSAL_LATER,    /* Redis cannot write now (memory, loading, a script that hangs): the same again, later */
    REFUSAL_MOVED,    /* this server is not the one to write to any more: counts as a lost link (rule 7) */
    REFUSAL_FATAL     /* permissions, a key of another type: asking again changes nothing */
};

enum refusal refusal_of(const redisReply *reply);

#endif
