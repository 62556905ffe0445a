/* Clocks, and the processor time that a process has used. Any thread. */
#ifndef BENCH_METER_H
#define BENCH_METER_H

#include <stdint.h>

uint64_t meter_mono_us(void); /* monotonic microseconds */
uint64_t meter_real_us(void); /* Unix time in microseconds, to compare with `at` */

/* User and system time of this process, microseconds. */
uint64_t meter_own_cpu_us(void);

/* The same of process `pid` with all its threads, from /proc/PID/stat: in steps of a clock tick, 10 ms as a rule.
 * *user_us: what of it was outside the kernel, as the ticks found it. UINT64_MAX if there is no such process. */
uint64_t meter_cpu_us(int64_t pid, uint64_t *user_us);

/* The same of the whole machine, all its cores together, whoever had it. 0 if it is not told. */
uint64_t meter_machine_cpu_us(void);

#endif
