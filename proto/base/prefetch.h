/* Asking for memory before it is needed. With thousands of generations an event touches some thirty cache lines that
 * were last used thousands of events ago; asked for one after another each costs the whole way to memory, asked for
 * together they cost it about once. A hint: any address will do, nothing changes. */
#ifndef TC_BASE_PREFETCH_H
#define TC_BASE_PREFETCH_H

#include <stddef.h>

#define TC_CACHE_LINE 64 /* bytes; where it is another, the hint is only worth less */

/* [p, p + n), to be read and written. */
static inline void tc_prefetch(const void *p, size_t n) {
    const char *at = p;
    for (size_t i = 0; i < n; i += TC_CACHE_LINE)
        __builtin_prefetch(at + i, 1);
}

#endif
