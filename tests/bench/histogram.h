/* A histogram of microseconds, exact below 128 and within 1 % above. One thread. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS (58 * 128)

struct histogram { /* zeroed = empty */
    uint64_t bucket[HISTOGRAM_BUCKETS];
    uint64_t count, sum, max;
};

void histogram_add(struct histogram *h, uint64_t us);

/* The value that a share `q` (0 to 1) of all values does not exceed; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *h, double q);

#endif
