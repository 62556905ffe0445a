/* Allocations that fail on demand. For programs whose name ends in _nomem: there the linker sends every malloc, calloc,
 * realloc and strdup of our own code here, and hiredis's reader and formatter are made to fail in its way; jansson
 * comes along after tc_json_count_failures(). Counts only between nomem_begin() and nomem_end(), on that thread. */
#ifndef TESTS_SUPPORT_NOMEM_H
#define TESTS_SUPPORT_NOMEM_H

#include <stdbool.h>

#define NOMEM_MAX 2000 /* a scenario with more allocations than that is too long to be tried with each failing */

enum nomem_mode {
    NOMEM_ONCE, /* the n-th allocation from here fails, and no other */
    NOMEM_FROM, /* the n-th and all that follow */
    NOMEM_MODES
};

void nomem_begin(enum nomem_mode mode, unsigned n); /* n from 1 */
bool nomem_end(void);                               /* memory is back; true: at least one had failed */
bool nomem_failed(void);                            /* at least one has failed since it began */

/* The test's own doing in between; nests. */
void nomem_pause(void);
void nomem_resume(void);

/* Calls `attempt` with n = 1, 2, 3 … in both modes until nothing failed any more, and fails the test if that never
 * comes or if not even the first allocation was made. `attempt` begins and ends the failing itself, checks what came of
 * it, and returns what nomem_end() said. */
void nomem_each(bool (*attempt)(void *arg, enum nomem_mode mode, unsigned n), void *arg);

/* Set-up of a group whose code reads JSON: jansson's failures are counted, as in the programs. */
int nomem_count_json(void **state);

#endif
