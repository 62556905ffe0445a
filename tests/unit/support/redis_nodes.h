/* Three scripted servers that play a Cluster of two halves, or a master and what may become one, on the test's loop. */
#ifndef TESTS_SUPPORT_REDIS_NODES_H
#define TESTS_SUPPORT_REDIS_NODES_H

#include "redis_fake.h"

#include <stdbool.h>

#define REDIS_NODES 3

struct redis_halves {
    int low, high; /* which node owns slots 0-8191 and the rest; -1: nobody */
};

struct redis_nodes {
    struct redis_fake node[REDIS_NODES];
    char heard[REDIS_NODES][512]; /* the commands' names after the greeting, with a space after each */
    struct redis_halves real;     /* decides between an answer and MOVED */
    struct redis_halves told;     /* what CLUSTER SLOTS says */
    int asked;                    /* CLUSTER SLOTS, SENTINEL */
    bool hold;                    /* CLUSTER SLOTS is answered only by redis_nodes_release */
    struct redis_fake_peer *held; /* who waits for it */
    int ask;                      /* commands with keys that are not after ASKING get ASK to this node; -1: none do */
    bool asking;
    bool circle;        /* nodes 0 and 1 name each other */
    bool mute;          /* keys get no answer */
    int master;         /* what the sentinel (node 0) names; -1: nil */
    const char *flags;  /* what SENTINEL MASTER says beside its address; NULL: no answer, nor to anything after it */
    bool hung;          /* private */
    bool tilt;          /* what INFO says */
    bool may_not_ask;   /* SENTINEL MASTER, INFO and ROLE are refused to this user */
    bool no_role;       /* ROLE gets no answer, and so nothing after it on that connection should */
    int masters, roles; /* how often the two were asked */
    bool replica[REDIS_NODES]; /* what ROLE says */
    bool readonly;             /* SET is refused so */
    char url[160];
};

/* Node 0 to 2 are up; nodes 0 and 1 own the halves. GET and the like are answered with the node's number. */
void redis_nodes_start(struct redis_nodes *n, uv_loop_t *loop);
void redis_nodes_stop(struct redis_nodes *n);
void redis_nodes_cut(struct redis_nodes *n, int node); /* resets its connections */

void redis_nodes_release(struct redis_nodes *n);

/* "k<i>": the first such key in the half. */
const char *redis_nodes_key(bool high);

#endif
