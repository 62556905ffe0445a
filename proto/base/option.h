/* One table of options drives flags, environment variables, ranges, --help and the check that the documents name
 * every row. An option `redis-url` is the flag `--redis-url V` or `--redis-url=V` and the environment variable
 * TOKENCAST_REDIS_URL; flags win, the last of equal ones; an empty variable counts as unset. A bool is `--x`,
 * `--x=true|false` or `--no-x`. Main thread, at startup. */
#ifndef TC_BASE_OPTION_H
#define TC_BASE_OPTION_H

#include "base/attr.h"
#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum tc_option_type {
    TC_OPT_STRING,   /* const char *; NULL when the default is NULL */
    TC_OPT_INT,      /* int64_t */
    TC_OPT_BOOL,     /* bool */
    TC_OPT_DURATION, /* int64_t milliseconds; accepts 500ms, 15s, 2m, 1h, or a bare number of milliseconds */
    TC_OPT_SIZE,     /* int64_t bytes; accepts 64k, 1m, 2g (powers of 1024), or a bare number of bytes */
    TC_OPT_ADDRESS,  /* const char *; HOST:PORT, [v6]:PORT, or PORT; port 0 = any free one */
    TC_OPT_CHOICE    /* const char *; one of the words in `choices` */
};

struct tc_option {
    const char *name; /* without dashes; NULL ends a table */
    enum tc_option_type type;
    size_t offset;       /* of the field in the options struct */
    const char *def;     /* as the user would write it; NULL = none */
    int64_t min, max;    /* inclusive, for numbers, in the type's unit; both 0 = any */
    const char *choices; /* "drop|merge|close" */
    const char *help;    /* one line, no full stop; NULL = not shown by --help */
};

/* Fills `opts` (zeroed by the caller) from defaults, then environment, then argv. On error writes one sentence for
 * people to `err` and returns TC_EINVAL or TC_ERANGE. Strings are copies that live until the process ends.
 * `--help`, `--version`, `--check-config` and `--probe` are the caller's: they are reported in *action. */
enum tc_option_action { TC_OPTION_RUN, TC_OPTION_HELP, TC_OPTION_VERSION, TC_OPTION_CHECK, TC_OPTION_PROBE };
TC_MUST_USE int tc_options_parse(const struct tc_option *table, void *opts, int argc, char **argv, char **env,
                                 enum tc_option_action *action, struct tc_buf *err);

/* The --help text: usage line, then each option with its variable, default, range and help. */
void tc_options_help(const struct tc_option *table, const char *program, const char *summary, FILE *out);

/* Splits a validated TC_OPT_ADDRESS. host is at least 64 bytes; a bare port gives host "". */
TC_MUST_USE int tc_address_split(const char *address, char *host, size_t host_size, int *port);

#endif
