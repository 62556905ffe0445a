/* How long to wait before another try. Pure, but for the jitter. */
#ifndef WORKER_PROVIDER_RETRY_H
#define WORKER_PROVIDER_RETRY_H

#include <stdint.h>

/* What Retry-After (seconds, or an HTTP date that is measured against `now`, Unix seconds) and retry-after-ms ask for,
 * in milliseconds; the latter wins. 0 = neither is usable. Strings may be "". */
uint64_t retry_asked_ms(const char *retry_after, const char *retry_after_ms, int64_t now);

/* Before retry number `retry` (1, 2, …): min doubled each time, capped at max, ± 25 %; or what was asked for, capped
 * at 10 × max and never made shorter. */
uint64_t retry_delay_ms(unsigned retry, int64_t min_ms, int64_t max_ms, uint64_t asked_ms);

#endif
