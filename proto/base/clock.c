/* Clocks and random bytes. Any thread. */
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

int64_t tc_now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

uint64_t tc_mono_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void tc_random(void *out, size_t n) {
    char *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno != EINTR)
            abort();
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}

uint64_t tc_jitter(uint64_t v, unsigned percent) {
    uint64_t random, span;
    if (percent > 100)
        percent = 100;
    span = v / 100 * percent + v % 100 * percent / 100;
    if (span > UINT64_MAX - v)
        span = UINT64_MAX - v;
    if (span > UINT64_MAX / 4)
        span = UINT64_MAX / 4;
    tc_random(&random, sizeof(random));
    v = v - span + random % (2 * span + 1);
    return v == 0 ? 1 : v;
}
