/* A message that visits every loop in turn, the main one first, and comes back to it: what it gathers needs no lock,
 * and that it comes back shows that every loop turns. Started on the main loop; caller's memory until `back`. */
#ifndef BROKER_OPS_ROUND_H
#define BROKER_OPS_ROUND_H

#include "ops/loop.h"

struct round {
    struct task task;                               /* first */
    struct loop *loops;                             /* borrowed */
    size_t count, next;                             /* of loops; the one to visit after this one */
    void (*visit)(struct round *r, struct loop *l); /* on the thread of each loop */
    void (*back)(struct round *r);                  /* on the main loop, once; the memory is the caller's again */
};

/* With loops, count, visit and back set. */
void round_start(struct round *r);

#endif
