/* A log-linear histogram: 128 equal buckets within each power of two. One thread, no allocation. */
#include "histogram.h"

#include <stddef.h>

static size_t bucket_of(uint64_t v) {
    if (v < 128)
        return (size_t)v;
    unsigned exponent = 63U - (unsigned)__builtin_clzll(v);
    return (size_t)(exponent - 6) * 128 + (size_t)((v >> (exponent - 7)) & 127);
}

/* The largest value that falls into bucket i. */
static uint64_t top_of(size_t i) {
    if (i < 128)
        return i;
    unsigned exponent = (unsigned)(i / 128) + 6;
    uint64_t width = 1ULL << (exponent - 7);
    return (1ULL << exponent) + (uint64_t)(i % 128) * width + (width - 1);
}

void histogram_add(struct histogram *h, uint64_t us) {
    h->bucket[bucket_of(us)]++;
    h->count++;
    h->sum += us;
    if (us > h->max)
        h->max = us;
}

uint64_t histogram_quantile(const struct histogram *h, double q) {
    uint64_t rank = (uint64_t)(q * (double)h->count), seen = 0;
    if (h->count == 0)
        return 0;
    if (rank >= h->count)
        return h->max;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen > rank)
            return top_of(i) < h->max ? top_of(i) : h->max;
    }
    return h->max;
}
