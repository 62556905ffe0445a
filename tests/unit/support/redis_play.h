/* A loop with three scripted servers and a link to them: what the tests of Sentinel and Cluster begin and end with. */
#ifndef TESTS_SUPPORT_REDIS_PLAY_H
#define TESTS_SUPPORT_REDIS_PLAY_H

#include "redis_fixture.h"
#include "redis_nodes.h"

struct redis_play {
    uv_loop_t loop;
    struct redis_nodes nodes;
    struct tc_redis *r; /* NULL: not created, or closed */
    struct redis_probe probe;
};

/* Zeroes it and starts the servers, as halves of a Cluster. 0, or -1, as cmocka wants it of a set-up. */
int redis_play_begin(struct redis_play *p);
/* The same, with node 0 as the sentinel of "m", which names node 1; `login` is a URL's, as ":pw@", or "". */
int redis_play_begin_sentinel(struct redis_play *p, const char *login);
void redis_play_create(struct redis_play *p);
void redis_play_create_up(struct redis_play *p);   /* and waits for it */
void redis_play_close(struct redis_play *p);       /* and waits for it; nothing if there is no link */
void redis_play_close_early(struct redis_play *p); /* again and again, each time a little later */
int redis_play_end(struct redis_play *p);          /* everything is closed; a handle that is left hangs and so fails */

#endif
