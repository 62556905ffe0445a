/* See drain.h. */
#include "feed/drain.h"

#include "base/clock.h"
#include "feed/channel.h"
#include "feed/feed.h"

#include <stdlib.h>

struct quota {
    struct hub *hub;
    uint64_t left; /* streams that may still be shed this time */
};

static void shed(struct sub *s, void *arg) {
    struct quota *q = arg;
    if (q->left == 0 || s->state == SUB_ENDING || s->track->key.dialect->append_only)
        return;
    q->left--;
    q->hub->stats.byes_drain++;
    s->shed = true;
    q->hub->shedding++;
    sub_end_with(s, "bye", TC_STR("{\"type\":\"bye\",\"reason\":\"drain\"}"),
                 (unsigned)tc_jitter(q->hub->drain.retry_ms, 50));
}

/* Who is likely to need its readers longest comes first. */
static int longest_first(const void *a, const void *b) {
    const struct feed *x = *(struct feed *const *)a, *y = *(struct feed *const *)b;
    bool x_waits = !x->started || x->stalled, y_waits = !y->started || y->stalled;
    if (x_waits != y_waits)
        return x_waits ? -1 : 1;
    return (x->last.seq < y->last.seq) - (x->last.seq > y->last.seq);
}

static void put_in_order(struct hub *h) {
    struct drain *d = &h->drain;
    struct feed *f, *next;
    d->order = calloc(h->stats.feeds + 1, sizeof(struct feed *));
    if (d->order == NULL)
        return;
    HASH_ITER(hh, h->feeds, f, next) {
        feed_ref(f);
        d->order[d->count++] = f;
    }
    qsort(d->order, d->count, sizeof(struct feed *), longest_first);
}

void drain_begin(struct hub *h, uint64_t window_ms, unsigned retry_ms) {
    if (h->draining)
        return;
    h->draining = true;
    h->drain = (struct drain){
        .begun_ms = hub_now_ms(h), .window_ms = window_ms, .retry_ms = retry_ms, .total = h->stats.streams};
    put_in_order(h);
}

static void shed_all(struct hub *h) {
    struct quota q = {.hub = h, .left = UINT64_MAX};
    struct feed *f, *next;
    channels_each_sub(h, shed, &q);
    HASH_ITER(hh, h->feeds, f, next) {
        fan_each_sub(&f->fan, shed, &q);
    }
}

void drain_tick(struct hub *h) {
    struct drain *d = &h->drain;
    uint64_t past = hub_now_ms(h) - d->begun_ms;
    if (past >= d->window_ms) {
        shed_all(h);
        return;
    }
    /* Rounded up: the last one stays as long as it may. */
    uint64_t may_stay = (d->total * (d->window_ms - past) + d->window_ms - 1) / d->window_ms;
    uint64_t live = h->stats.streams - h->shedding;
    struct quota q = {.hub = h, .left = live > may_stay ? live - may_stay : 0};
    if (q.left > 0)
        channels_each_sub(h, shed, &q);
    while (q.left > 0 && d->hand < d->count) {
        fan_each_sub(&d->order[d->hand]->fan, shed, &q);
        if (q.left > 0)
            d->hand++;
    }
}

void drain_fini(struct hub *h) {
    struct drain *d = &h->drain;
    for (size_t i = 0; i < d->count; i++)
        feed_unref(d->order[i]);
    free(d->order);
    *d = (struct drain){0};
}
