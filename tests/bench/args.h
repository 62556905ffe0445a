/* Options of the benchmark programs: `--name VALUE` over one table, `--name` alone for a flag. Main thread, at startup.
 * Nonsense ends the program with one sentence and status 2. */
#ifndef BENCH_ARGS_H
#define BENCH_ARGS_H

#include <stdint.h>

enum bench_arg_type { BENCH_ARG_END = 0, BENCH_ARG_INT, BENCH_ARG_REAL, BENCH_ARG_STRING, BENCH_ARG_FLAG };

struct bench_arg {
    const char *name; /* without dashes; NULL ends the table */
    enum bench_arg_type type;
    void *out;        /* int64_t, double, const char * (points into argv) or bool; holds the default before */
    double min, max;  /* inclusive, for numbers */
    const char *help; /* one line with the unit */
};

void bench_args_parse(const struct bench_arg *table, int argc, char **argv);

/* Says why on standard error and ends the program with status 2. */
_Noreturn void bench_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Raises the file limit to `want` where this process may, or as far as it may; what it is then. */
int64_t bench_raise_files(int64_t want);

#endif
