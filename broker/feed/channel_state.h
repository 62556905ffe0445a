/* What the files of a channel share. A channel is settled once its log was read and the feed of every member is; its
 * vector is then what a reader who has seen everything holds. Loop thread. */
#ifndef BROKER_FEED_CHANNEL_STATE_H
#define BROKER_FEED_CHANNEL_STATE_H

#include "feed/channel.h"

struct member {          /* a generation that is not over; holds a reference to its feed */
    struct tc_list node; /* in channel->members, in order of announcement */
    struct channel *channel;
    struct feed *feed;
    bool pending; /* its feed is not settled: nothing was given out since */
    bool give;    /* once it is, what its history holds is news to the channel's subscribers */
    struct feed_wait wait;
    struct feed_listener listener;
    char extra[TC_ID_MAX + 24]; /* JSON member that names the generation */
};

struct channel {
    UT_hash_handle hh;
    struct hub *hub;
    char name[TC_CHANNEL_MAX + 1];
    char log_key[TC_KEY_MAX];
    struct fan fan;
    struct vector vector;   /* of what was given to the fan */
    struct tc_list members; /* struct member; at most VECTOR_MAX */
    unsigned pending;       /* members that are */

    struct tc_redis_sub bell;
    bool subscribed; /* the bell rings: only now is loading worth it */
    bool loaded;
    bool reading, again; /* a read of the log is under way; something came meanwhile */
    uint64_t reads;      /* of the log, complete */
    uint64_t quiet_ms;   /* loop time of the last complete read */

    struct tc_list waits; /* struct feed_wait */
    unsigned refs;        /* readers of any kind */
    unsigned calls;       /* Redis commands in flight that point here */
    uint64_t idle_ms;     /* loop time when it was last used */
    bool closing;
};

/* The event and the generation's id of an announcement; TC_ESYNTAX for anything else. id holds TC_ID_MAX + 1. */
TC_MUST_USE int channel_announcement(struct tc_str raw, struct tc_event *ev, char *id);
void channel_name_member(char *extra, size_t size, const char *id);
void channel_ref(struct channel *c);
bool channel_settled(const struct channel *c);
/* Called once at the next change: a read of the log came back, the channel settled, it is closed. */
void channel_wait_add(struct channel *c, struct feed_wait *w);
void channel_wake(struct channel *c);
bool channel_call_done(struct channel *c); /* as feed_call_done() */

/* The log (channel_log.c). */
void channel_load(struct channel *c); /* the newest announcements; joins a read under way */
void channel_read(struct channel *c); /* looks for further ones; joins a read under way */

struct member *member_find(struct channel *c, const char *id);
/* In the vector at 0-0 from now on. `give`: as in struct member; otherwise all up to the head at which its feed settles
 * counts as given out. Takes the reference to the feed, also on failure (TC_ENOMEM: nothing has changed). Makes room by
 * leaving out the oldest. */
TC_MUST_USE int member_add(struct channel *c, struct feed *f, bool give, struct member **out);
void member_follow(struct member *m); /* once, after member_add(); the member may be over by the time it returns */
void member_remove(struct member *m);
void members_drop(struct channel *c);  /* all of them, without a word */
void members_sweep(struct channel *c); /* those whose log vanished leave */

#endif
