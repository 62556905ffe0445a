/* A message on its way through the loops (see round.h). It is on one thread at a time. */
#include "ops/round.h"

static void pass(struct task *t, struct loop *l) {
    struct round *r = (struct round *)(void *)t;
    if (r->next > r->count) { /* back on the main loop */
        r->back(r);
        return;
    }
    r->visit(r, l);
    size_t next = r->next++;
    loop_post(&r->loops[next < r->count ? next : 0], &r->task);
}

void round_start(struct round *r) {
    r->task.run = pass;
    r->next = 1;
    pass(&r->task, &r->loops[0]);
}
