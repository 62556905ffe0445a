/* See retry.h. */
#include "provider/retry.h"

#include "base/clock.h"

#include <curl/curl.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define ASKED_MAX_MS ((uint64_t)24 * 3600 * 1000)

/* A decimal number of `unit` milliseconds: "2", "0.5". 0 if it is not one. */
static uint64_t parse_number(const char *text, double unit) {
    char *end;

    if (*text < '0' || *text > '9')
        return 0;
    double v = strtod(text, &end);
    while (*end == ' ')
        end++;
    if (*end != 0 || !isfinite(v))
        return 0;
    v = ceil(v * unit);
    return v > (double)ASKED_MAX_MS ? ASKED_MAX_MS : (uint64_t)v;
}

uint64_t retry_asked_ms(const char *retry_after, const char *retry_after_ms, int64_t now) {
    uint64_t ms = parse_number(retry_after_ms, 1);

    if (ms == 0)
        ms = parse_number(retry_after, 1000);
    if (ms > 0 || *retry_after == 0)
        return ms;
    int64_t at = (int64_t)curl_getdate(retry_after, NULL);
    if (at <= now)
        return 0;
    return (uint64_t)(at - now) > ASKED_MAX_MS / 1000 ? ASKED_MAX_MS : (uint64_t)(at - now) * 1000;
}

uint64_t retry_delay_ms(unsigned retry, int64_t min_ms, int64_t max_ms, uint64_t asked_ms) {
    uint64_t min = min_ms > 0 ? (uint64_t)min_ms : 1, max = max_ms > min_ms && max_ms > 0 ? (uint64_t)max_ms : min;
    uint64_t delay = min;

    if (asked_ms > 0) {
        uint64_t cap = max * 10, delay_ms = asked_ms < cap ? asked_ms : cap;
        /* Everybody was told the same moment: spread out behind it. */
        return delay_ms + (delay_ms < cap ? tc_jitter(min, 25) / 4 : 0);
    }
    for (unsigned i = 1; i < retry && delay < max; i++)
        delay *= 2;
    return tc_jitter(delay < max ? delay : max, 25);
}
