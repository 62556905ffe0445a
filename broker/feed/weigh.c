/* See weigh.h. */
#include "feed/weigh.h"

#include "feed/channel_state.h"
#include "feed/feed.h"

static void weigh_sub(const struct sub *s, struct hub_weight *w) {
    w->private_bytes += s->priv.len - s->priv_sent;
    if (s->state == SUB_CATCHUP) {
        w->catching_up++;
    } else if (s->state == SUB_LIVE && s->off < s->track->head_off) {
        uint64_t lag = s->track->head_off - s->off;
        w->behind++;
        w->lag_bytes = lag > w->lag_bytes ? lag : w->lag_bytes;
    }
}

static void weigh_fan(const struct fan *f, struct hub_weight *w) {
    for (const struct track *t = f->tracks; t != NULL; t = t->next) {
        for (const struct segment *s = t->first; s != NULL; s = s->next)
            w->segment_bytes += s->cap;
        for (uint32_t i = 0; i < t->sub_count; i++)
            weigh_sub(t->subs[i], w);
    }
}

void hub_weigh(const struct hub *h, struct hub_weight *out) {
    *out = (struct hub_weight){0};
    for (const struct feed *f = h->feeds; f != NULL; f = f->hh.next) {
        out->history_bytes += f->history.memory;
        weigh_fan(&f->fan, out);
    }
    for (const struct channel *c = h->channels; c != NULL; c = c->hh.next)
        weigh_fan(&c->fan, out);
}
