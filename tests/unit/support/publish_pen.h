/* A writer of generation PEN_GEN on the rig, with everything it told its opener. */
#ifndef TESTS_PUBLISH_PEN_H
#define TESTS_PUBLISH_PEN_H

#include "publish_rig.h"
#include "tokencast/publish.h"

#define PEN_GEN  "gen_test"
#define PEN_LOG  "tc:{" PEN_GEN "}:log"
#define PEN_META "tc:{" PEN_GEN "}:meta"
#define PEN_BELL "tc:{" PEN_GEN "}:bell"
#define PEN_CTL  "tc:{" PEN_GEN "}:ctl"

struct pen {
    struct publish_rig *rig;
    struct tc_publisher *publisher;
    struct tc_writer *w;
    bool opened, ended, cancelled, lost, finished, stopped, relieved, checked, agrees, closed;
    bool asked;       /* pen_settle: a check is under way */
    uint64_t appends; /* pen_say_acknowledged: acknowledged before */
    int open_err, lost_err, cancels, finishes, opens;
    struct tc_position last;
};

extern const struct tc_writer_callbacks pen_callbacks; /* their arg is a struct pen */

void pen_start(struct pen *p, struct publish_rig *rig, const struct tc_publisher_options *opts, bool create);
void pen_open(struct pen *p, struct publish_rig *rig); /* and waits for on_open without an error */
void pen_close(struct pen *p);                         /* writer and publisher, waited for */

void pen_say(struct pen *p, const char *text);              /* text, index 0 */
void pen_say_acknowledged(struct pen *p, const char *text); /* and waits for one acknowledgement */
void pen_settle(struct pen *p);                             /* checks until the log ends where the writer believes */
void pen_finish(struct pen *p);                             /* done: stop, waited for */

/* The log as it is, and a failover that goes back to it: the key, its last id included, is as it was. */
redisReply *pen_dump(struct publish_rig *rig);
void pen_restore(struct publish_rig *rig, redisReply *dump); /* frees it */

void pen_on_closed(void *arg);

#endif
