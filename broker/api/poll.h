/* A long poll: events after a position as one JSON answer, waited for if there are none yet. */
#ifndef BROKER_API_POLL_H
#define BROKER_API_POLL_H

#include "api/api.h"
#include "api/params.h"
#include "feed/feed.h"

/* Answers conn now or within params->wait_ms: {"events":[…],"position","state","ended"}; at most about 256 KiB, the
 * position says how far it came. f is borrowed for the call. */
void poll_start(struct api *a, struct http_conn *conn, struct feed *f, const struct params *params);

#endif
