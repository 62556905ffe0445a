/* Clocks and random bytes. Any thread. */
#ifndef TC_BASE_CLOCK_H
#define TC_BASE_CLOCK_H

#include "base/attr.h"

#include <stddef.h>
#include <stdint.h>

int64_t tc_now_us(void);   /* Unix time in microseconds; for `at` in events only, may jump */
uint64_t tc_mono_us(void); /* monotonic microseconds; for every timer and interval */

/* Cryptographic random bytes from the kernel (getrandom). Aborts if the kernel has none: nothing here works without. */
void tc_random(void *out, size_t n);

/* v changed at random by up to ± percent/100; never below 1. For back-off, retry: and lifetimes. */
uint64_t tc_jitter(uint64_t v, unsigned percent);

#endif
