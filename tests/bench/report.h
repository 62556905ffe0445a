/* What the load generator says at its end: one JSON line of verdicts, of the figures of the measured window and of
 * durations. Main thread. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include "crowd.h"
#include "histogram.h"

#include <stddef.h>
#include <stdint.h>

#define REPORT_MAX_PIDS 8

/* What has been counted at one moment. */
struct sample {
    uint64_t mono_us, events, merged, bytes, own_cpu_us, machine_cpu_us;
    uint64_t cpu_us[REPORT_MAX_PIDS];  /* of the processes named; UINT64_MAX: ended before */
    uint64_t user_us[REPORT_MAX_PIDS]; /* of that outside the kernel */
};

struct window {
    struct sample first, last;
    uint64_t begun_us; /* from the program's beginning to the window's */
    size_t pid_count;
};

/* The window may be NULL: nothing was measured. How many clients were not whole. */
int64_t report_print(const struct crowd *crowd, const struct window *window, const struct histogram *latency);

#endif
