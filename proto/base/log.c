/* Structured log lines; see log.h. A line is built on the stack and written with one write(2), so that threads need no
 * lock. The settings are written once before the threads start. */
#include "base/log.h"

#include "base/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 4096
#define PLAIN_MAX      256 /* longer values are quoted, and so can be cut */
#define TAIL_BYTES     32  /* kept free for closing a quote and saying that the line was cut */

struct line {
    char data[LINE_MAX_BYTES];
    size_t len;
    bool cut; /* something did not fit; nothing is added any more */
};

static const char *log_component = "tokencast";
static enum tc_log_level log_min = TC_LOG_INFO;
static int log_json;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void tc_log_setup(const char *component, enum tc_log_level min, int json) {
    log_component = component;
    log_min = min;
    log_json = json;
}

/* All of s or nothing. */
static void put(struct line *l, const char *s, size_t n) {
    if (l->cut || n > sizeof(l->data) - TAIL_BYTES - l->len) {
        l->cut = true;
        return;
    }
    memcpy(l->data + l->len, s, n);
    l->len += n;
}

static void puts_line(struct line *l, const char *s) {
    put(l, s, strlen(s));
}

/* Goes into the part that is kept free. */
static void put_tail(struct line *l, const char *s) {
    size_t n = strlen(s);
    memcpy(l->data + l->len, s, n);
    l->len += n;
}

/* One control character or quote, in a form that both JSON and people read. */
static void put_escaped(struct line *l, unsigned char c) {
    char text[8];
    int n;
    if (c == '"' || c == '\\')
        n = snprintf(text, sizeof(text), "\\%c", c);
    else if (c == '\n' || c == '\r' || c == '\t')
        n = snprintf(text, sizeof(text), "\\%c", c == '\n' ? 'n' : c == '\r' ? 'r' : 't');
    else
        n = snprintf(text, sizeof(text), "\\u%04x", c);
    put(l, text, (size_t)n);
}

/* In quotes; whatever happens, the closing one is written. */
static void put_quoted(struct line *l, struct tc_str s) {
    put(l, "\"", 1);
    if (l->cut)
        return;
    for (size_t i = 0; i < s.n && !l->cut;) {
        unsigned char c = (unsigned char)s.p[i];
        size_t n = tc_utf8_char((struct tc_str){s.p + i, s.n - i});
        if (n == 0)
            puts_line(l, "\xef\xbf\xbd");
        else if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
            put_escaped(l, c);
        else
            put(l, s.p + i, n);
        i += n ? n : 1;
    }
    put_tail(l, "\"");
}

static bool is_plain(struct tc_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == '"' || s.p[i] == '=' || s.p[i] == '\\')
            return false;
    return s.n > 0;
}

static void put_number(struct line *l, const struct tc_log_field *f) {
    char text[48];
    int n;
    if (f->kind == TC_LOG_INT)
        n = snprintf(text, sizeof(text), "%lld", (long long)f->i);
    else if (isfinite(f->d))
        n = snprintf(text, sizeof(text), "%.9g", f->d);
    else
        n = snprintf(text, sizeof(text), "null");
    put(l, text, (size_t)n);
}

/* A field is left out whole where not even its key fits. */
static void put_field(struct line *l, const struct tc_log_field *f) {
    size_t start = l->len;
    puts_line(l, log_json ? ",\"" : " ");
    puts_line(l, f->key);
    puts_line(l, log_json ? "\":" : "=");
    size_t value = l->len;
    if (f->kind != TC_LOG_STR)
        put_number(l, f);
    else if (!log_json && is_plain(f->s) && f->s.n <= PLAIN_MAX)
        put(l, f->s.p, f->s.n);
    else
        put_quoted(l, f->s);
    if (l->cut && l->len == value)
        l->len = start;
}

static void put_time(struct line *l) {
    char text[40];
    struct timespec now;
    struct tm utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    n += (size_t)snprintf(text + n, sizeof(text) - n, ".%06ldZ", now.tv_nsec / 1000);
    put(l, text, n);
}

static void put_head(struct line *l, enum tc_log_level level, const char *msg) {
    puts_line(l, log_json ? "{\"time\":\"" : "");
    put_time(l);
    puts_line(l, log_json ? "\",\"level\":\"" : " ");
    puts_line(l, level_names[level]);
    puts_line(l, log_json ? "\",\"component\":\"" : " ");
    puts_line(l, log_component);
    puts_line(l, log_json ? "\",\"msg\":" : ": ");
    if (log_json)
        put_quoted(l, tc_str_from(msg));
    else
        puts_line(l, msg);
}

void tc_log_write(enum tc_log_level level, const char *msg, const struct tc_log_field *fields) {
    struct line l;
    l.len = 0;
    l.cut = false;
    if (level < log_min)
        return;
    put_head(&l, level, msg);
    for (; fields->kind != TC_LOG_END && !l.cut; fields++)
        put_field(&l, fields);
    if (l.cut)
        put_tail(&l, log_json ? ",\"cut\":true" : " cut=true");
    put_tail(&l, log_json ? "}\n" : "\n");
    /* A log that cannot be written has nobody to tell. */
    while (write(STDERR_FILENO, l.data, l.len) < 0 && errno == EINTR)
        ;
}
