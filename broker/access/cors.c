/* Cross-origin rules. Everything is decided from the Origin header and the option; nothing is remembered. Pure. */
#include "access/cors.h"

#include <string.h>
#include <strings.h>
#include <tokencast/error.h>

#define ORIGIN_MAX  256 /* keeps the lines of an answer below what http_extra_headers() takes */
#define REFLECT_MAX 1024

/* What pages may read besides the simple response headers. */
#define EXPOSED                                                                                                        \
    "Location, Retry-After, X-Request-Id, X-Should-Retry, X-Vercel-Ai-Ui-Message-Stream, Stream-Next-Offset, "         \
    "Stream-Cursor, Stream-Up-To-Date, Stream-Closed"

static bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The entry before the next comma; false when the list is used up. */
static bool next_entry(struct tc_str *list, struct tc_str *entry) {
    if (list->p == NULL)
        return false;
    const char *comma = list->n ? memchr(list->p, ',', list->n) : NULL;
    size_t n = comma ? (size_t)(comma - list->p) : list->n;
    *entry = tc_str_trim((struct tc_str){list->p, n});
    *list = comma ? (struct tc_str){comma + 1, list->n - n - 1} : (struct tc_str){NULL, 0};
    return true;
}

/* Length of "scheme://", 0 if there is none. Not only http: apps have origins such as capacitor://localhost. */
static size_t scheme_length(struct tc_str s) {
    size_t i = 0;
    if (s.n == 0 || !is_alpha(s.p[0]))
        return 0;
    while (i < s.n && (is_alpha(s.p[i]) || is_digit(s.p[i]) || s.p[i] == '+' || s.p[i] == '-' || s.p[i] == '.'))
        i++;
    return s.n - i > 3 && memcmp(s.p + i, "://", 3) == 0 ? i + 3 : 0;
}

static bool port_is_valid(struct tc_str s) {
    if (s.n == 0 || s.n > 5)
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return true;
}

/* Length of a host name, an IPv4 address, or an IPv6 address in brackets; 0 if malformed. */
static size_t host_length(struct tc_str s) {
    size_t i = 0;
    if (s.n > 0 && s.p[0] == '[') {
        const char *end = memchr(s.p, ']', s.n);
        size_t n = end ? (size_t)(end - s.p) : 0;
        for (i = 1; i < n; i++)
            if (strchr("0123456789abcdefABCDEF:.", s.p[i]) == NULL)
                return 0;
        return n > 2 ? n + 1 : 0;
    }
    while (i < s.n && (is_alpha(s.p[i]) || is_digit(s.p[i]) || s.p[i] == '-' || s.p[i] == '.' || s.p[i] == '_'))
        i++;
    return i;
}

/* scheme "://" host [ ":" port ], nothing after it: a path would never match what browsers send. */
static bool is_origin(struct tc_str s) {
    size_t scheme = scheme_length(s);
    if (scheme == 0 || s.n > ORIGIN_MAX)
        return false;
    struct tc_str rest = {s.p + scheme, s.n - scheme};
    size_t host = host_length(rest);
    if (host == 0)
        return false;
    if (host == rest.n)
        return true;
    return rest.p[host] == ':' && port_is_valid((struct tc_str){rest.p + host + 1, rest.n - host - 1});
}

int cors_parse(struct cors *c, const char *list) {
    struct tc_str rest = tc_str_from(list), entry;
    *c = (struct cors){.count = 0};
    if (rest.n == 0)
        return 0;
    while (next_entry(&rest, &entry)) {
        if (tc_str_is(entry, "*")) {
            c->any = true;
            continue;
        }
        if (!is_origin(entry))
            return TC_ESYNTAX;
        if (c->count == CORS_MAX_ORIGINS)
            return TC_ETOOLARGE;
        c->origins[c->count++] = entry;
    }
    return 0;
}

static bool is_allowed(const struct cors *c, struct tc_str origin) {
    if (origin.n == 0)
        return false;
    if (c->any)
        return true;
    for (size_t i = 0; i < c->count; i++)
        if (c->origins[i].n == origin.n && strncasecmp(c->origins[i].p, origin.p, origin.n) == 0)
            return true;
    return false;
}

/* Echoing the origin makes the answer depend on it, which caches must know. Credentials are never allowed: tokens
 * travel in Authorization, and cookies play no part. */
static void put_allow_origin(const struct cors *c, struct tc_str origin, struct tc_buf *lines) {
    if (c->any) {
        tc_buf_puts(lines, "Access-Control-Allow-Origin: *\r\n");
        return;
    }
    tc_buf_puts(lines, "Access-Control-Allow-Origin: ");
    tc_buf_put_str(lines, origin);
    tc_buf_puts(lines, "\r\nVary: Origin\r\n");
}

void cors_headers(const struct cors *c, const struct http_request *req, struct tc_buf *lines) {
    struct tc_str origin = http_header(req, "origin");
    if (!is_allowed(c, origin))
        return;
    put_allow_origin(c, origin, lines);
    tc_buf_puts(lines, "Access-Control-Expose-Headers: " EXPOSED "\r\n");
}

/* Names and commas only, so that nothing else can be reflected into our header. */
static bool is_name_list(struct tc_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_alpha(s.p[i]) && !is_digit(s.p[i]) && strchr("-_, ", s.p[i]) == NULL)
            return false;
    return s.n > 0 && s.n <= REFLECT_MAX;
}

bool cors_preflight(const struct cors *c, const struct http_request *req, struct tc_buf *lines) {
    struct tc_str origin = http_header(req, "origin");
    struct tc_str headers = http_header(req, "access-control-request-headers");
    if (req->method != HTTP_M_OPTIONS || http_header(req, "access-control-request-method").n == 0)
        return false;
    if (!is_allowed(c, origin))
        return false;
    put_allow_origin(c, origin, lines);
    tc_buf_puts(lines, "Vary: Access-Control-Request-Headers\r\n"
                       "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, DELETE\r\n");
    /* The SDKs send a dozen headers of their own; "*" would not cover Authorization. */
    if (is_name_list(headers)) {
        tc_buf_puts(lines, "Access-Control-Allow-Headers: ");
        tc_buf_put_str(lines, headers);
        tc_buf_puts(lines, "\r\n");
    }
    tc_buf_puts(lines, "Access-Control-Max-Age: 7200\r\n");
    return true;
}
