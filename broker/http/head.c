/* The head of one request. A scan of our own finds its end and refuses what parsers disagree on; the distribution's
 * parser reads the whole head in one call; then come the rules on framing. Pure. */
#include "http/head.h"

#define http_method parser_http_method /* a parser has an enum of this name too */
#include "base/http_parse.h"
#undef http_method

#include <string.h>
#include <strings.h>

/* ---- scan ---- */

static bool is_control(unsigned char c) {
    return (c < 0x20 && c != '\t') || c == 0x7f;
}

/* 1 when this LF ends the head, 0 when it ends a line. */
static int end_line(struct head_scan *s) {
    s->cr = false;
    if (s->line == 0) {
        if (s->lines > 0)
            return 1;
        s->start = s->at; /* an empty line before the request line (RFC 9112, 2.2) */
        return 0;
    }
    s->lines++;
    s->line = 0;
    return 0;
}

static const char *scan_byte(struct head_scan *s, unsigned char c) {
    if (s->cr)
        return "a carriage return stands alone";
    if (c == '\r') {
        s->cr = true;
        return NULL;
    }
    if (is_control(c) || (c == '\t' && s->lines == 0))
        return "the request holds a control character";
    if (s->line == 0 && (c == ' ' || c == '\t'))
        return "a header line is folded";
    s->line++;
    return NULL;
}

int head_scan(struct head_scan *s, const char *text, size_t n, size_t max, const char **why) {
    while (s->at < n) {
        if (s->at >= max) {
            *why = s->lines ? "the header is larger than this server takes" : "the request line is too long";
            return s->lines ? 431 : 414;
        }
        unsigned char c = (unsigned char)text[s->at++];
        if (c != '\n') {
            *why = scan_byte(s, c);
            if (*why)
                return 400;
        } else if (!s->cr) {
            *why = "a line ends without a carriage return";
            return 400;
        } else if (end_line(s) == 1) {
            return 1;
        }
    }
    return 0;
}

/* ---- the parser's callbacks ---- */

static struct head_span span_of(const struct head *h, const char *at, size_t n) {
    return (struct head_span){(uint32_t)(at - h->text), (uint32_t)n};
}

/* The head is parsed in one piece, yet a parser may report an item in several: an adjacent piece prolongs it. */
static struct head_span prolong(const struct head *h, struct head_span s, const char *at, size_t n) {
    struct head_span piece = span_of(h, at, n);
    if (s.n == 0)
        return piece;
    s.n = piece.at + piece.n - s.at;
    return s;
}

static int on_target(struct tc_http_parser *p, const char *at, size_t n) {
    struct head *h = p->data;
    h->target = prolong(h, h->target, at, n);
    return 0;
}

static int on_name(struct tc_http_parser *p, const char *at, size_t n) {
    struct head *h = p->data;
    struct head_span piece = span_of(h, at, n);
    if (h->count > 0 && h->names[h->count - 1].at + h->names[h->count - 1].n == piece.at) {
        h->names[h->count - 1].n += piece.n;
        return 0;
    }
    if (h->count == HTTP_MAX_HEADERS) {
        h->too_many = true;
        return TC_HTTP_ABORT;
    }
    h->names[h->count] = piece;
    h->values[h->count++] = (struct head_span){0, 0};
    return 0;
}

static int on_value(struct tc_http_parser *p, const char *at, size_t n) {
    struct head *h = p->data;
    if (h->count > 0)
        h->values[h->count - 1] = prolong(h, h->values[h->count - 1], at, n);
    return 0;
}

/* The framing of the body is ours to judge, so the parser shall not look for one. */
static int on_headers_complete(struct tc_http_parser *p) {
    struct head *h = p->data;
    h->complete = true;
    h->version = (unsigned)p->http_major * 10 + (unsigned)p->http_minor;
    h->parsed_method = (unsigned)p->method;
    tc_http_ignore_upgrade(p);
    return TC_HTTP_SKIP_BODY;
}

/* ---- what the parser said ---- */

static int refuse(struct head *h, int status, const char *why) {
    h->why = why;
    return status;
}

static bool is_token_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* A method that nobody knows is another thing than garbage. */
static bool begins_like_a_request(const char *text, size_t n) {
    size_t i = 0;
    while (i < n && is_token_char(text[i]))
        i++;
    return i > 0 && i + 1 < n && text[i] == ' ' && (text[i + 1] == '/' || text[i + 1] == '*' || text[i + 1] == 'h');
}

static int parser_refused(struct head *h, const char *error, const char *text, size_t n) {
    if (h->too_many)
        return refuse(h, 431, "the request has too many header fields");
    if (strcmp(error, "HPE_HEADER_OVERFLOW") == 0)
        return refuse(h, 431, "the header is larger than this server takes");
    if (strcmp(error, "HPE_INVALID_VERSION") == 0 && begins_like_a_request(text, n))
        return refuse(h, 505, "this server speaks HTTP/1.1");
    if (strcmp(error, "HPE_INVALID_METHOD") == 0 && begins_like_a_request(text, n))
        return refuse(h, 501, "the method is unknown");
    return refuse(h, 400, "the request is malformed");
}

static int run_parser(struct head *h, const char *text, size_t n) {
    const struct tc_http_settings settings = {
        .on_url = on_target,
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_headers_complete = on_headers_complete,
    };
    struct tc_http_parser parser;
    size_t used = 0;
    tc_http_init_request(&parser, &settings, h);
    enum tc_http_result result = tc_http_execute(&parser, &settings, text, n, &used);
    if (h->complete)
        return 0;
    return parser_refused(h, result == TC_HTTP_ERROR ? tc_http_error_name(&parser) : "", text, n);
}

static int judge_line(struct head *h, const char *text) {
    static const struct {
        unsigned parsed;
        enum http_method method;
    } methods[] = {
        {HTTP_GET, HTTP_M_GET}, {HTTP_HEAD, HTTP_M_HEAD},     {HTTP_POST, HTTP_M_POST},
        {HTTP_PUT, HTTP_M_PUT}, {HTTP_DELETE, HTTP_M_DELETE}, {HTTP_OPTIONS, HTTP_M_OPTIONS},
    };
    const char *target = text + h->target.at;
    if (h->version != 10 && h->version != 11)
        return refuse(h, h->version < 10 ? 400 : 505, "this server speaks HTTP/1.1");
    if (h->parsed_method == HTTP_CONNECT)
        return refuse(h, 501, "this server is not a proxy");
    h->http10 = h->version == 10;
    h->method = HTTP_M_OTHER;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (methods[i].parsed == h->parsed_method)
            h->method = methods[i].method;
    if (h->target.n == 0 || memchr(target, '#', h->target.n) != NULL)
        return refuse(h, 400, "the request target is malformed");
    if (target[0] == '/' || (target[0] == '*' && h->target.n == 1) ||
        (h->target.n > 7 && strncasecmp(target, "http://", 7) == 0) ||
        (h->target.n > 8 && strncasecmp(target, "https://", 8) == 0))
        return 0;
    return refuse(h, 400, "the request target is malformed");
}

/* ---- fields ---- */

/* What the fields say about framing, gathered before it is judged. */
struct framing {
    unsigned lengths, encodings, hosts;
    bool close, keep_alive;
};

static struct tc_str trimmed(const char *text, struct head_span *s) {
    while (s->n > 0 && (text[s->at] == ' ' || text[s->at] == '\t')) {
        s->at++;
        s->n--;
    }
    while (s->n > 0 && (text[s->at + s->n - 1] == ' ' || text[s->at + s->n - 1] == '\t'))
        s->n--;
    return (struct tc_str){text + s->at, s->n};
}

static bool same_word(struct tc_str s, const char *word) {
    return s.n == strlen(word) && strncasecmp(s.p, word, s.n) == 0;
}

static bool lists_word(struct tc_str list, const char *word) {
    while (list.n > 0) {
        const char *comma = memchr(list.p, ',', list.n);
        struct head_span s = {0, (uint32_t)(comma ? (size_t)(comma - list.p) : list.n)};
        size_t skip = comma ? s.n + 1 : list.n;
        if (same_word(trimmed(list.p, &s), word))
            return true;
        list = (struct tc_str){list.p + skip, list.n - skip};
    }
    return false;
}

/* Digits alone: "+5", "5, 5" and "0x5" mean different things to different servers. */
static int take_length(struct head *h, struct tc_str value) {
    uint64_t v = 0;
    if (value.n == 0 || value.n > 18)
        return refuse(h, 400, "Content-Length is malformed");
    for (size_t i = 0; i < value.n; i++) {
        if (value.p[i] < '0' || value.p[i] > '9')
            return refuse(h, 400, "Content-Length is malformed");
        v = v * 10 + (uint64_t)(value.p[i] - '0');
    }
    h->content_length = v;
    return 0;
}

static int take_field(struct head *h, struct framing *f, struct tc_str name, struct tc_str value) {
    if (tc_str_is(name, "content-length")) {
        f->lengths++;
        return take_length(h, value);
    }
    if (tc_str_is(name, "transfer-encoding")) {
        f->encodings++;
        if (!same_word(value, "chunked"))
            return refuse(h, 501, "the transfer coding is unknown");
        h->chunked = true;
    } else if (tc_str_is(name, "host")) {
        f->hosts++;
        for (size_t i = 0; i < value.n; i++)
            if (strchr(" \t,/@\\?#", value.p[i]) != NULL)
                return refuse(h, 400, "the Host field is malformed");
    } else if (tc_str_is(name, "connection")) {
        f->close = f->close || lists_word(value, "close");
        f->keep_alive = f->keep_alive || lists_word(value, "keep-alive");
    } else if (tc_str_is(name, "expect") && !h->http10) {
        if (!same_word(value, "100-continue"))
            return refuse(h, 417, "the expectation is unknown");
        h->expect_continue = true;
    }
    return 0;
}

static int normalize_name(struct head *h, char *name, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!is_token_char(name[i]))
            return refuse(h, 400, "a header name is malformed");
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] - 'A' + 'a');
    }
    return n > 0 ? 0 : refuse(h, 400, "a header name is malformed");
}

static int judge_framing(struct head *h, const struct framing *f) {
    if (f->hosts > 1 || (f->hosts == 0 && !h->http10))
        return refuse(h, 400, "the request needs one Host field");
    if (f->lengths > 1 || f->encodings > 1 || (f->lengths > 0 && f->encodings > 0))
        return refuse(h, 400, "the length of the body is ambiguous");
    if (f->encodings > 0 && h->http10)
        return refuse(h, 400, "HTTP/1.0 has no transfer codings");
    h->keep_alive = !f->close && (!h->http10 || f->keep_alive);
    return 0;
}

static int judge_fields(struct head *h, char *text) {
    struct framing f = {0};
    int rc = 0;
    for (size_t i = 0; i < h->count && rc == 0; i++) {
        rc = normalize_name(h, text + h->names[i].at, h->names[i].n);
        if (rc == 0)
            rc = take_field(h, &f, (struct tc_str){text + h->names[i].at, h->names[i].n}, trimmed(text, &h->values[i]));
    }
    return rc ? rc : judge_framing(h, &f);
}

int head_parse(struct head *h, char *text, size_t n) {
    memset(h, 0, sizeof(*h));
    h->text = text;
    int rc = run_parser(h, text, n);
    if (rc == 0)
        rc = judge_line(h, text);
    if (rc == 0)
        rc = judge_fields(h, text);
    h->text = NULL;
    return rc;
}
