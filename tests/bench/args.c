/* Options of the benchmark programs. Their own little parser, so that they stand without the project's libraries and a
 * fault there cannot hide itself from the measurement. Main thread. */
#include "args.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void bench_die(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    exit(2);
}

static _Noreturn void usage(const struct bench_arg *table, const char *program) {
    printf("usage: %s [--option value]...\n", program);
    for (const struct bench_arg *a = table; a->name != NULL; a++)
        printf("  --%-14s %s\n", a->name, a->help);
    exit(0);
}

static double number(const struct bench_arg *a, const char *text) {
    char *end = NULL;
    errno = 0;
    double v = strtod(text, &end);
    /* written so that a NaN is refused too */
    if (errno != 0 || end == text || *end != '\0' || !(v >= a->min && v <= a->max))
        bench_die("--%s: %s is not a number from %.0f to %.0f", a->name, text, a->min, a->max);
    return v;
}

static void assign(const struct bench_arg *a, const char *text) {
    switch (a->type) {
    case BENCH_ARG_INT:
        *(int64_t *)a->out = (int64_t)number(a, text);
        break;
    case BENCH_ARG_REAL:
        *(double *)a->out = number(a, text);
        break;
    case BENCH_ARG_STRING:
        *(const char **)a->out = text;
        break;
    default:
        *(bool *)a->out = true;
        break;
    }
}

void bench_args_parse(const struct bench_arg *table, int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const struct bench_arg *a = table;
        if (strcmp(argv[i], "--help") == 0)
            usage(table, argv[0]);
        while (a->name != NULL && (strncmp(argv[i], "--", 2) != 0 || strcmp(argv[i] + 2, a->name) != 0))
            a++;
        if (a->name == NULL)
            bench_die("unknown option %s (see --help)", argv[i]);
        if (a->type != BENCH_ARG_FLAG && ++i == argc)
            bench_die("--%s wants a value", a->name);
        assign(a, argv[i]);
    }
}

int64_t bench_raise_files(int64_t want) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    if (limit.rlim_max < (rlim_t)want) { /* only for those who may */
        struct rlimit higher = {.rlim_cur = (rlim_t)want, .rlim_max = (rlim_t)want};
        if (setrlimit(RLIMIT_NOFILE, &higher) == 0)
            return want;
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 0;
    return limit.rlim_cur > INT32_MAX ? INT32_MAX : (int64_t)limit.rlim_cur;
}
