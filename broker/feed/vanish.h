/* A log that is not there any more: why? Its readers are told the cause, which decides what an operator does about it.
 * Loop thread. */
#ifndef BROKER_FEED_VANISH_H
#define BROKER_FEED_VANISH_H

#include "feed/feed.h"

/* The log was read and is empty. Ends in feed_vanished(), or, if the log exists after all (every entry was trimmed
 * away), in feed->reading being false again. Keeps feed->reading set until then. */
void vanish_inquire(struct feed *f);
/* The feed goes: what is under way answers nobody. */
void vanish_forget(struct feed *f);

#endif
