/* Clocks and processor time. Any thread; no state. */
#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t clock_us(clockid_t id) {
    struct timespec t;
    if (clock_gettime(id, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000U + (uint64_t)t.tv_nsec / 1000U;
}

uint64_t meter_mono_us(void) {
    return clock_us(CLOCK_MONOTONIC);
}

uint64_t meter_real_us(void) {
    return clock_us(CLOCK_REALTIME);
}

uint64_t meter_own_cpu_us(void) {
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t meter_cpu_us(int64_t pid, uint64_t *user_us) {
    char path[64], line[1024];
    snprintf(path, sizeof(path), "/proc/%" PRId64 "/stat", pid);
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return UINT64_MAX;
    size_t n = fread(line, 1, sizeof(line) - 1, f);
    fclose(f);
    line[n] = '\0';
    /* The program's name may hold spaces and parentheses: the fields are counted from the last one (proc(5)). */
    const char *rest = strrchr(line, ')');
    uint64_t user, sys;
    if (rest == NULL ||
        sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64, &user, &sys) != 2)
        return UINT64_MAX;
    const uint64_t tick_us = 1000000U / (uint64_t)sysconf(_SC_CLK_TCK);
    *user_us = user * tick_us;
    return (user + sys) * tick_us;
}

uint64_t meter_machine_cpu_us(void) {
    uint64_t user, nice, sys, irq, softirq;
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL)
        return 0;
    int n = fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %*u %*u %" SCNu64 " %" SCNu64, &user, &nice, &sys, &irq,
                   &softirq);
    fclose(f);
    return n < 5 ? 0 : (user + nice + sys + irq + softirq) * (1000000U / (uint64_t)sysconf(_SC_CLK_TCK));
}
