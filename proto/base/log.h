/* One-line structured logs on standard error, as text (`time level message key=value …`) or JSON. Any thread: a line
 * is written with one write(2). Values are escaped; a line is at most 4 KiB, longer ones are cut and say so. */
#ifndef TC_BASE_LOG_H
#define TC_BASE_LOG_H

#include "base/str.h"
#include "tokencast/error.h"

#include <stdint.h>

enum tc_log_level { TC_LOG_DEBUG, TC_LOG_INFO, TC_LOG_WARN, TC_LOG_ERROR };

enum tc_log_kind { TC_LOG_END = 0, TC_LOG_STR, TC_LOG_INT, TC_LOG_FLOAT };

struct tc_log_field {
    enum tc_log_kind kind;
    const char *key; /* static, [a-z_]+ */
    struct tc_str s; /* TC_LOG_STR */
    int64_t i;       /* TC_LOG_INT */
    double d;        /* TC_LOG_FLOAT */
};

#define TC_LS(k, cstr)  ((struct tc_log_field){.kind = TC_LOG_STR, .key = (k), .s = tc_str_from(cstr)})
#define TC_LSTR(k, str) ((struct tc_log_field){.kind = TC_LOG_STR, .key = (k), .s = (str)})
#define TC_LI(k, v)     ((struct tc_log_field){.kind = TC_LOG_INT, .key = (k), .i = (int64_t)(v)})
#define TC_LF(k, v)     ((struct tc_log_field){.kind = TC_LOG_FLOAT, .key = (k), .d = (v)})
#define TC_LERR(code)   TC_LS("error", tc_strerror(code))

/* Before the threads start. `component` is static: "broker", "worker". */
void tc_log_setup(const char *component, enum tc_log_level min, int json);

/* tc_log(TC_LOG_INFO, "generation finished", TC_LS("gen", id), TC_LI("ttft_ms", 12)); at least one field. */
#define tc_log(level, msg, ...) tc_log_write((level), (msg), (const struct tc_log_field[]){__VA_ARGS__, {0}})
#define tc_log0(level, msg)     tc_log_write((level), (msg), (const struct tc_log_field[]){{0}})
void tc_log_write(enum tc_log_level level, const char *msg, const struct tc_log_field *fields);

#endif
