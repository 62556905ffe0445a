/* What a loop's feeds hold and how far their subscribers are behind, counted when somebody asks (a scrape) so that the
 * hot path need not. Loop thread. */
#ifndef BROKER_FEED_WEIGH_H
#define BROKER_FEED_WEIGH_H

#include "feed/hub.h"

struct hub_weight {
    uint64_t segment_bytes; /* shared frames of all tracks, with their unused ends */
    uint64_t history_bytes; /* entries kept for late joiners */
    uint64_t private_bytes; /* what single subscribers are still to be sent before the shared frames */
    uint64_t catching_up;   /* subscribers that are not live yet, or not any more */
    uint64_t behind;        /* live subscribers whose socket has not taken everything */
    uint64_t lag_bytes;     /* the most that one of them has not taken */
};

/* Visits every feed, segment and subscriber. */
void hub_weigh(const struct hub *h, struct hub_weight *out);

#endif
