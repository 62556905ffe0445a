/* A whole worker with the replay provider on the test's loop, and a broker's hand in its Redis. One at a time. */
#ifndef TESTS_WORKER_WORKER_FIXTURE_H
#define TESTS_WORKER_WORKER_FIXTURE_H

#include "publish_rig.h"
#include "run/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define REQUEST(text, rate) "{\"prompt\":\"x\",\"options\":{\"text\":\"" text "\",\"rate\":" rate "}}"
#define ENDLESS             REQUEST("one two three four five six seven eight nine ten", "5")

extern struct publish_rig rig;
extern struct worker worker;
extern struct worker_options opts; /* for the next start() */
extern bool stopped;

int worker_setup(void **state);
int worker_teardown(void **state);

void start(void);
void stop(void); /* and waits for it */

/* As a broker does: log and meta, the job, its id in meta. `meta`: one more field and its value, "field\0value". */
void post(const char *gen, const char *request, const char *meta);

void await(const char *in_log); /* until the log of gen_a, as publish_rig_log() gives it, has this */
bool queue_is_empty(void *arg); /* and the worker has nothing to do */

#endif
