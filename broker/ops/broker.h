/* The broker as a whole: its loops, the operations port, the signals, the way out. Main thread. */
#ifndef BROKER_OPS_BROKER_H
#define BROKER_OPS_BROKER_H

#include "base/attr.h"
#include "options.h"

/* Runs until SIGTERM or SIGINT; 0 after a clean end, an error (logged) if it could not start. */
TC_MUST_USE int broker_run(const struct broker_options *opts);

#endif
