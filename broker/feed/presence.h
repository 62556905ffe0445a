/* Who is watching: while a generation that may be abandoned has a subscriber here, this broker keeps a lease in its
 * viewers set, scored with Redis's clock, not this host's. A broker that dies stops renewing and so stops counting.
 * Loop thread. */
#ifndef BROKER_FEED_PRESENCE_H
#define BROKER_FEED_PRESENCE_H

#include "feed/feed.h"

/* Renews the lease every third of it while there is a subscriber; takes it back when the last has left. */
void presence_report(struct feed *f, uint64_t now_ms);

#endif
