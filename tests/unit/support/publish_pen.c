/* See publish_pen.h. */
#include "publish_pen.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void on_open(void *arg, int err, struct tc_position last, bool ended) {
    struct pen *p = arg;
    p->opened = true;
    p->opens++;
    p->open_err = err;
    p->last = last;
    p->ended = ended;
}

static void on_cancel(void *arg) {
    struct pen *p = arg;
    p->cancelled = true;
    p->cancels++;
}

static void on_pressure(void *arg, bool stop) {
    struct pen *p = arg;
    if (stop)
        p->stopped = true;
    else
        p->relieved = true;
}

static void on_lost(void *arg, int err) {
    struct pen *p = arg;
    assert_false(p->lost);
    p->lost = true;
    p->lost_err = err;
}

static void on_finished(void *arg) {
    struct pen *p = arg;
    p->finished = true;
    p->finishes++;
}

static void on_checked(void *arg, bool agrees) {
    struct pen *p = arg;
    p->checked = true;
    p->agrees = agrees;
}

void pen_on_closed(void *arg) {
    struct pen *p = arg;
    assert_false(p->closed);
    p->closed = true;
}

const struct tc_writer_callbacks pen_callbacks = {.on_open = on_open,
                                                  .on_cancel = on_cancel,
                                                  .on_pressure = on_pressure,
                                                  .on_lost = on_lost,
                                                  .on_finished = on_finished,
                                                  .on_checked = on_checked};

void pen_start(struct pen *p, struct publish_rig *rig, const struct tc_publisher_options *opts, bool create) {
    memset(p, 0, sizeof(*p));
    p->rig = rig;
    assert_int_equal(tc_publisher_create(&p->publisher, &p->rig->loop, p->rig->redis, opts), 0);
    assert_int_equal(tc_writer_open(&p->w, p->publisher, PEN_GEN, create, "m", "room", &pen_callbacks, p), 0);
    assert_false(p->opened);
}

void pen_open(struct pen *p, struct publish_rig *rig) {
    pen_start(p, rig, NULL, false);
    publish_rig_until(p->rig, &p->opened);
    assert_int_equal(p->open_err, 0);
}

void pen_close(struct pen *p) {
    tc_writer_close(p->w, pen_on_closed, p);
    assert_false(p->closed);
    publish_rig_until(p->rig, &p->closed);
    tc_publisher_destroy(p->publisher);
}

void pen_say(struct pen *p, const char *text) {
    assert_int_equal(tc_writer_text(p->w, TC_KIND_TEXT, 0, tc_str_from(text)), 0);
}

/* Every append so far is acknowledged: a check, whose answer follows theirs, agrees. */
static bool is_settled(void *arg) {
    struct pen *p = arg;
    if (p->checked && p->agrees)
        return true;
    if (p->checked || !p->asked)
        p->asked = tc_writer_check(p->w) == 0;
    p->checked = false;
    return false;
}

void pen_settle(struct pen *p) {
    p->asked = p->checked = false;
    publish_rig_until_true(p->rig, is_settled, p);
}

static bool has_appended(void *arg) {
    const struct pen *p = arg;
    return tc_publisher_stats(p->publisher)->appends > p->appends;
}

void pen_say_acknowledged(struct pen *p, const char *text) {
    p->appends = tc_publisher_stats(p->publisher)->appends;
    pen_say(p, text);
    publish_rig_until_true(p->rig, has_appended, p);
}

void pen_finish(struct pen *p) {
    assert_int_equal(tc_writer_finish(p->w, "stop", (struct tc_str){0}), 0);
    publish_rig_until(p->rig, &p->finished);
}

redisReply *pen_dump(struct publish_rig *rig) {
    return publish_rig_command(rig, "DUMP " PEN_LOG);
}

void pen_restore(struct publish_rig *rig, redisReply *dump) {
    publish_rig_do(rig, "RESTORE " PEN_LOG " 0 %b REPLACE", dump->str, dump->len);
    freeReplyObject(dump);
}
