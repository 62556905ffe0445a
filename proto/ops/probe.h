/* Asks the program that has these options and runs on this machine whether it can do its work. For containers without a
 * shell, whose engine runs a command inside to know. Blocks, 2 s at most; main thread, with no loop. */
#ifndef TC_OPS_PROBE_H
#define TC_OPS_PROBE_H

#include "base/attr.h"

#include <stdio.h>

/* GET /readyz at `address` (see TC_OPT_ADDRESS; all interfaces are asked by loopback). What was said, or why nothing
 * was, goes to `out` as a line. 0: ready; TC_EAGAIN: not ready; TC_EINVAL: port 0 is nobody's; else nobody answered. */
TC_MUST_USE int tc_ops_probe(const char *address, FILE *out);

#endif
