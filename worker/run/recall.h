/* Reading a log page by page into a past. One reading at a time; caller's memory, which must stay until the callback.
 * Loop thread. A page that a lost link swallows is asked for again by recall_again: for the caller's timer. */
#ifndef WORKER_RUN_RECALL_H
#define WORKER_RUN_RECALL_H

#include "redis/redis.h"
#include "run/past.h"
#include "wire/keys.h"

struct recall {
    struct tc_redis *redis; /* borrowed */
    char log[TC_KEY_MAX];
    struct tc_position at, last; /* last entry taken; the event to end with */
    struct past past;            /* the caller's after on_recalled, to be given back by recall_forget */
    void (*on_recalled)(void *arg);
    void *arg;
    bool reading; /* begun, and on_recalled has not been called */
    bool waiting; /* a page is asked for and not answered */
    bool stopped;
};

/* on_recalled(arg) once, from the loop, when everything up to `last` was read, unless it is stopped before. */
void recall_start(struct recall *r, struct tc_redis *redis, const char *log, struct tc_position last, size_t max_bytes,
                  void (*on_recalled)(void *arg), void *arg);
void recall_again(struct recall *r);

/* Stops, and frees the past; idempotent, accepts zeroed memory. true: an answer is still awaited, and on_recalled will
 * tell that it came. */
bool recall_forget(struct recall *r);

#endif
