/* Whether the link leads to the master (part of struct tc_redis, see core.h), for tc_redis_confirm. One question at a
 * time, however many ask; who comes while it is under way waits for the next, since the answer must be younger than
 * what it is to confirm. Loop thread. */
#ifndef TC_REDIS_CONFIRM_H
#define TC_REDIS_CONFIRM_H

#include "redis/redis.h"
#include "redis/url.h"

struct tc_confirm {
    struct tc_redis_inquiry *asked;   /* whom the answers under way are for; the inquirers' memory */
    struct tc_redis_inquiry *waiting; /* for the next question */
    struct tc_endpoint at;            /* the server in question */
    unsigned answers;                 /* to come */
    bool doubtful;
};

/* Another master is named: what the former one said is not to be trusted. */
void tc_confirm_doubt(struct tc_redis *r);

#endif
