/* See join.h. */
#include "api/join.h"

#include "tokencast/error.h"

#include <stdlib.h>

static void finish(struct join *j, int err) {
    struct feed *f = j->feed;
    http_on_gone(j->conn, NULL, NULL);
    feed_wait_remove(&j->wait);
    j->done(j, j->conn, f, err);
    feed_unref(f);
}

static void on_gone(void *arg) {
    struct join *j = arg;
    feed_wait_remove(&j->wait);
    feed_unref(j->feed);
    free(j);
}

static void on_change(void *arg) {
    struct join *j = arg;
    struct feed *f = j->feed;
    if (f->state == FEED_READY)
        finish(j, 0);
    else if (f->state == FEED_FAILED)
        finish(j, f->err);
    else if (f->closing || f->hub->draining || hub_now_ms(f->hub) >= j->deadline_ms)
        finish(j, TC_ETIMEOUT);
    else
        feed_wait_add(f, &j->wait);
}

int join_start(struct join *j, struct api *a, struct http_conn *conn, const char *id,
               void (*done)(struct join *j, struct http_conn *conn, struct feed *f, int err)) {
    int err = feed_get(a->hub, id, &j->feed);
    if (err != 0)
        return err;
    j->conn = conn;
    j->done = done;
    j->deadline_ms = hub_now_ms(a->hub) + JOIN_HOLD_MS;
    j->wait = (struct feed_wait){.cb = on_change, .arg = j};
    http_on_gone(conn, on_gone, j);
    on_change(j);
    return 0;
}
