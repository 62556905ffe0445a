/* See nomem.h. */
#include "nomem.h"

#include "wire/json.h"

#include <hiredis/hiredis.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

static _Thread_local struct {
    bool armed;
    enum nomem_mode mode;
    unsigned left; /* allocations until the one that fails */
    unsigned paused;
    unsigned failed;
} now;

void nomem_begin(enum nomem_mode mode, unsigned n) {
    now.armed = true;
    now.mode = mode;
    now.left = n;
    now.failed = 0;
}

bool nomem_end(void) {
    now.armed = false;
    return nomem_failed();
}

bool nomem_failed(void) {
    return now.failed > 0;
}

void nomem_pause(void) {
    now.paused++;
}

void nomem_resume(void) {
    now.paused--;
}

static bool fails(void) {
    if (!now.armed || now.paused > 0)
        return false;
    if (now.left > 0)
        now.left--;
    if (now.left > 0 || (now.mode == NOMEM_ONCE && now.failed > 0))
        return false;
    now.failed++;
    return true;
}

void nomem_each(bool (*attempt)(void *arg, enum nomem_mode mode, unsigned n), void *arg) {
    for (enum nomem_mode mode = NOMEM_ONCE; mode < NOMEM_MODES; mode++) {
        unsigned n = 1;
        while (n < NOMEM_MAX && attempt(arg, mode, n))
            n++;
        assert_in_range(n, 2, NOMEM_MAX - 1);
    }
}

/* ---- the C library: --wrap sends our code's calls here ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t count, size_t n);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t count, size_t n);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n) {
    return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t count, size_t n) {
    return fails() ? NULL : __real_calloc(count, n);
}

void *__wrap_realloc(void *p, size_t n) {
    return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s) {
    return fails() ? NULL : __real_strdup(s);
}

/* ---- hiredis, which has no allocator of its own to set before 1.0 ---- */

redisReader *__real_redisReaderCreate(void);
int __real_redisReaderFeed(redisReader *r, const char *bytes, size_t n);
long long __real_redisFormatCommandArgv(char **out, int argc, const char **argv, const size_t *len);
redisReader *__wrap_redisReaderCreate(void);
int __wrap_redisReaderFeed(redisReader *r, const char *bytes, size_t n);
long long __wrap_redisFormatCommandArgv(char **out, int argc, const char **argv, const size_t *len);

static redisReplyObjectFunctions plain, failing; /* hiredis's own, and those that may find no memory */

static void *create_string(const redisReadTask *task, char *str, size_t n) {
    return fails() ? NULL : plain.createString(task, str, n);
}

#if HIREDIS_MAJOR >= 1
static void *create_array(const redisReadTask *task, size_t n) {
    return fails() ? NULL : plain.createArray(task, n);
}
#else
static void *create_array(const redisReadTask *task, int n) {
    return fails() ? NULL : plain.createArray(task, n);
}
#endif

static void *create_integer(const redisReadTask *task, long long value) {
    return fails() ? NULL : plain.createInteger(task, value);
}

static void *create_nil(const redisReadTask *task) {
    return fails() ? NULL : plain.createNil(task);
}

redisReader *__wrap_redisReaderCreate(void) {
    redisReader *r = fails() ? NULL : __real_redisReaderCreate();
    if (r == NULL)
        return NULL;
    plain = failing = *r->fn;
    failing.createString = create_string;
    failing.createArray = create_array;
    failing.createInteger = create_integer;
    failing.createNil = create_nil;
    r->fn = &failing;
    return r;
}

int __wrap_redisReaderFeed(redisReader *r, const char *bytes, size_t n) {
    if (!fails())
        return __real_redisReaderFeed(r, bytes, n);
    r->err = REDIS_ERR_OOM;
    return REDIS_ERR;
}

long long __wrap_redisFormatCommandArgv(char **out, int argc, const char **argv, const size_t *len) {
    return fails() ? -1 : __real_redisFormatCommandArgv(out, argc, argv, len);
}

int nomem_count_json(void **state) {
    (void)state;
    tc_json_count_failures();
    return 0;
}
