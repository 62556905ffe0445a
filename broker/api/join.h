/* Waiting, on behalf of a connection, for a generation's feed to be settled. Embedded in its user's operation, whose
 * memory it frees (TC_CONTAINER_OF is not needed: the join is the first member) if the peer leaves before. */
#ifndef BROKER_API_JOIN_H
#define BROKER_API_JOIN_H

#include "api/api.h"
#include "api/params.h"
#include "feed/feed.h"

struct join {
    struct http_conn *conn;
    struct feed *feed; /* referenced while waiting and during the callback */
    struct feed_wait wait;
    uint64_t deadline_ms; /* loop time */
    /* Once, later or at once: err 0, TC_ENOTFOUND, TC_EGONE, or TC_ETIMEOUT. Frees the operation. */
    void (*done)(struct join *j, struct http_conn *conn, struct feed *f, int err);
};

#define JOIN_HOLD_MS 10000 /* Redis away: how long a request is held */

/* The join must be the first member of memory from malloc. On error nothing was started. */
TC_MUST_USE int join_start(struct join *j, struct api *a, struct http_conn *conn, const char *id,
                           void (*done)(struct join *j, struct http_conn *conn, struct feed *f, int err));

/* A stream for a request whose parameters are read; also after a POST that asked for the stream itself. */
void api_watch(struct api *a, struct http_conn *conn, const struct params *params, const char *id);

#endif
