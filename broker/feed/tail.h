/* Following one log: announcements where they fit, the log where they do not (docs/protocol.md, "Announcing" and
 * "Reading"). Works on the feed it belongs to; loop thread. */
#ifndef BROKER_FEED_TAIL_H
#define BROKER_FEED_TAIL_H

#include "feed/feed.h"

TC_MUST_USE int tail_start(struct feed *f); /* subscribes; the rest follows by itself */
void tail_stop(struct feed *f);             /* unsubscribes; idempotent */
void tail_read(struct feed *f);             /* looks at the log from the last position on; joins a read under way */
void tail_retry(struct feed *f);            /* loads again what could not be loaded */
void tail_reload(struct feed *f);           /* forgets and loads from the log again */

#endif
