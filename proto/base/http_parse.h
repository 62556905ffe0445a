/* The distribution's HTTP/1.1 parser under one set of names: llhttp where it exists (TC_HAVE_LLHTTP), else its
 * predecessor http-parser. Callbacks have the same shape and names in both: int (*on_x)(struct tc_http_parser *p) and
 * (…, const char *at, size_t n), set in a zeroed struct tc_http_settings. What both share is used directly: p->data,
 * p->method, p->http_major, p->http_minor, p->flags & F_CHUNKED, the HTTP_<METHOD> constants. */
#ifndef TC_BASE_HTTP_PARSE_H
#define TC_BASE_HTTP_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* on_headers_complete may return this for "no body follows" (answers to HEAD); 0 is the ordinary case. */
#define TC_HTTP_SKIP_BODY 1
#define TC_HTTP_ABORT     (-1) /* from any callback: execute ends with TC_HTTP_ERROR */

enum tc_http_result {
    TC_HTTP_OK,      /* all bytes taken */
    TC_HTTP_PAUSED,  /* a callback paused: resume, then feed again from *used */
    TC_HTTP_UPGRADE, /* the message is over and another protocol begins at *used */
    TC_HTTP_ERROR    /* malformed, or a callback aborted; the parser is of no more use */
};

#ifdef TC_HAVE_LLHTTP
#include <llhttp.h>

#define tc_http_parser   llhttp__internal_s
#define tc_http_settings llhttp_settings_s

/* `settings` is borrowed for the parser's life. */
static inline void tc_http_init_request(struct tc_http_parser *p, const struct tc_http_settings *settings, void *data) {
    llhttp_init(p, HTTP_REQUEST, settings);
    p->data = data;
}

static inline void tc_http_init_response(struct tc_http_parser *p, const struct tc_http_settings *settings,
                                         void *data) {
    llhttp_init(p, HTTP_RESPONSE, settings);
    p->data = data;
}

/* A callback pauses by `return tc_http_pause(p);`. */
static inline int tc_http_pause(struct tc_http_parser *p) {
    (void)p;
    return HPE_PAUSED;
}

static inline void tc_http_resume(struct tc_http_parser *p) {
    llhttp_resume(p);
}

static inline enum tc_http_result tc_http_execute(struct tc_http_parser *p, const struct tc_http_settings *settings,
                                                  const char *data, size_t n, size_t *used) {
    (void)settings; /* given at init */
    llhttp_errno_t err = llhttp_execute(p, data, n);
    *used = n;
    if (err == HPE_OK)
        return TC_HTTP_OK;
    const char *pos = llhttp_get_error_pos(p);
    *used = pos ? (size_t)(pos - data) : 0;
    if (err == HPE_PAUSED)
        return TC_HTTP_PAUSED;
    return err == HPE_PAUSED_UPGRADE ? TC_HTTP_UPGRADE : TC_HTTP_ERROR;
}

/* The peer ended its side. true: that is where the message may end (a response without a length). */
static inline bool tc_http_finish(struct tc_http_parser *p, const struct tc_http_settings *settings) {
    (void)settings;
    return llhttp_finish(p) == HPE_OK;
}

static inline bool tc_http_keep_alive(const struct tc_http_parser *p) {
    return llhttp_should_keep_alive(p) != 0;
}

static inline const char *tc_http_method_name(const struct tc_http_parser *p) {
    return llhttp_method_name((llhttp_method_t)p->method);
}

static inline const char *tc_http_error_name(const struct tc_http_parser *p) {
    return llhttp_errno_name(llhttp_get_errno(p));
}

/* Whether a Content-Length was given; then *out is it. Valid in on_headers_complete. */
static inline bool tc_http_content_length(const struct tc_http_parser *p, uint64_t *out) {
    *out = p->content_length;
    return (p->flags & F_CONTENT_LENGTH) != 0;
}

#else
#include <http_parser.h>

#define tc_http_parser   http_parser
#define tc_http_settings http_parser_settings

static inline void tc_http_init_request(struct tc_http_parser *p, const struct tc_http_settings *settings, void *data) {
    (void)settings;
    http_parser_init(p, HTTP_REQUEST);
    p->data = data;
}

static inline void tc_http_init_response(struct tc_http_parser *p, const struct tc_http_settings *settings,
                                         void *data) {
    (void)settings;
    http_parser_init(p, HTTP_RESPONSE);
    p->data = data;
}

static inline int tc_http_pause(struct tc_http_parser *p) {
    http_parser_pause(p, 1);
    return 0;
}

static inline void tc_http_resume(struct tc_http_parser *p) {
    http_parser_pause(p, 0);
}

static inline enum tc_http_result tc_http_execute(struct tc_http_parser *p, const struct tc_http_settings *settings,
                                                  const char *data, size_t n, size_t *used) {
    *used = http_parser_execute(p, settings, data, n);
    enum http_errno err = HTTP_PARSER_ERRNO(p);
    if (err == HPE_PAUSED)
        return TC_HTTP_PAUSED;
    if (err != HPE_OK)
        return TC_HTTP_ERROR;
    if (p->upgrade)
        return TC_HTTP_UPGRADE;
    return *used == n ? TC_HTTP_OK : TC_HTTP_ERROR;
}

static inline bool tc_http_finish(struct tc_http_parser *p, const struct tc_http_settings *settings) {
    return http_parser_execute(p, settings, NULL, 0) == 0 && HTTP_PARSER_ERRNO(p) == HPE_OK;
}

static inline bool tc_http_keep_alive(const struct tc_http_parser *p) {
    return http_should_keep_alive(p) != 0;
}

static inline const char *tc_http_method_name(const struct tc_http_parser *p) {
    return http_method_str((enum http_method)p->method);
}

static inline const char *tc_http_error_name(const struct tc_http_parser *p) {
    return http_errno_name(HTTP_PARSER_ERRNO(p));
}

static inline bool tc_http_content_length(const struct tc_http_parser *p, uint64_t *out) {
    *out = p->content_length;
    return (p->flags & F_CONTENTLENGTH) != 0;
}
#endif

/* Serve the request as if it had not asked for another protocol (RFC 9110, 7.8 allows it). Call it in
 * on_headers_complete, for every request of a server that upgrades nothing; CONNECT is the caller's to refuse. */
static inline void tc_http_ignore_upgrade(struct tc_http_parser *p) {
    p->upgrade = 0;
}

#endif
