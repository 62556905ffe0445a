/* See memory.h. */
#include "ops/memory.h"

#include <malloc.h>
#include <stdio.h>
#include <unistd.h>

uint64_t memory_resident(void) {
    unsigned long long size, resident;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    int n = fscanf(f, "%llu %llu", &size, &resident); /* NOLINT(cert-err34-c): the kernel's own numbers */
    (void)fclose(f);
    return n == 2 ? (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

bool memory_has_room(uint64_t resident, uint64_t max, bool full) {
    return max == 0 || resident < (full ? max - max / 20 : max);
}

void memory_give_back(void) {
    (void)malloc_trim(0);
}
