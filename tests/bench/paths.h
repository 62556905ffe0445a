/* The streams that a crowd reads: one for all, or a list from a file, a path a line. Main thread, at startup. */
#ifndef BENCH_PATHS_H
#define BENCH_PATHS_H

#include <stddef.h>

#define PATHS_MAX_LENGTH 1024 /* of one path */

struct paths {
    char **items; /* owned, and each of them */
    size_t count;
};

/* Each ends the program if it cannot. */
void paths_one(struct paths *p, const char *path);
void paths_read(struct paths *p, const char *file);
void paths_fini(struct paths *p);

#endif
