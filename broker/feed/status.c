/* See status.h. */
#include "feed/status.h"

enum feed_status status_of_generation(const struct feed *f) {
    if (f->stalled)
        return STATUS_STALLED;
    return f->started ? STATUS_RUNNING : STATUS_QUEUED;
}

bool status_is_cut_off(const struct feed *f) {
    return f->hub->away && !tc_redis_reaches(f->hub->redis, tc_str_from(f->log_key));
}

enum feed_status status_of(const struct feed *f) {
    return status_is_cut_off(f) ? STATUS_RECOVERING : status_of_generation(f);
}

const char *status_name(enum feed_status s) {
    switch (s) {
    case STATUS_QUEUED:
        return "queued";
    case STATUS_STALLED:
        return "stalled";
    case STATUS_RECOVERING:
        return "recovering";
    case STATUS_NONE:
    case STATUS_RUNNING:
    case STATUS_UNKNOWN:
        break;
    }
    return "running";
}

void status_json(struct tc_buf *out, const char *extra, enum feed_status s) {
    tc_buf_printf(out, "{\"type\":\"status\",%s\"state\":\"%s\"}", extra != NULL ? extra : "", status_name(s));
}

void status_update(struct feed *f) {
    if (f->state != FEED_READY || f->ended || f->told == status_of(f))
        return;
    bool first = f->told == STATUS_NONE; /* nobody has read it so far: `open` says it */
    f->told = status_of(f);
    if (first)
        return;
    char room[96];
    struct tc_buf json = {.data = room, .cap = sizeof room};
    status_json(&json, NULL, f->told);
    f->restated = true;
    fan_control(&f->fan, &(struct dialect_control){.type = "status", .json = tc_buf_str(&json)});
    for (struct tc_list *n = f->listeners.next, *next; n != &f->listeners; n = next) {
        next = n->next;
        struct feed_listener *l = TC_CONTAINER_OF(n, struct feed_listener, node);
        if (l->on_status != NULL)
            l->on_status(l->arg, f);
    }
}
