/* Cuts a byte stream into requests. Everything is kept as offsets into one buffer until the request is whole, because
 * the buffer moves while it grows; a chunked body is decoded in place. Pure. */
#include "http/request.h"

#include <string.h>
#include <tokencast/error.h>

void request_init(struct request *r, size_t max_head, size_t max_body) {
    memset(r, 0, sizeof(*r));
    r->max_head = max_head;
    r->max_body = max_body;
    /* One byte over the bound of the head must fit, or a head that is too long could not be told from an unfinished. */
    tc_buf_init(&r->raw, max_head + max_body + 1);
}

void request_fini(struct request *r) {
    tc_buf_fini(&r->raw);
}

size_t request_room(const struct request *r) {
    return r->raw.max - r->raw.len;
}

int request_append(struct request *r, const char *p, size_t n) {
    tc_buf_append(&r->raw, p, n);
    return tc_buf_ok(&r->raw) ? 0 : TC_ENOMEM;
}

static int refuse(struct request *r, int status, const char *why) {
    r->why = why;
    return status;
}

static int begin_body(struct request *r) {
    struct head *h = &r->head;
    r->body_at = r->rest_at = r->scan.at;
    r->body_len = 0;
    if (h->chunked) {
        chunked_init(&r->chunked, r->max_head);
        r->phase = REQUEST_CHUNKED;
        return 0;
    }
    if (h->content_length > r->max_body)
        return refuse(r, 413, "the body is larger than this server takes");
    r->phase = REQUEST_LENGTH;
    return 0;
}

static int parse_head(struct request *r) {
    int rc = head_scan(&r->scan, r->raw.data, r->raw.len, r->max_head, &r->why);
    if (rc != 1)
        return rc;
    rc = head_parse(&r->head, r->raw.data + r->scan.start, r->scan.at - r->scan.start);
    if (rc != 0)
        return refuse(r, rc, r->head.why);
    return begin_body(r);
}

static int parse_length(struct request *r) {
    size_t need = (size_t)r->head.content_length;
    if (r->raw.len - r->body_at < need)
        return 0;
    r->body_len = need;
    r->rest_at = r->body_at + need;
    r->phase = REQUEST_WHOLE;
    return 0;
}

static int parse_chunked(struct request *r) {
    char *in = r->raw.data + r->rest_at, *out = r->raw.data + r->body_at + r->body_len;
    size_t taken = 0, written = 0;
    int rc = chunked_feed(&r->chunked, in, r->raw.len - r->rest_at, &taken, out, r->max_body - r->body_len, &written);
    if (rc == TC_ETOOLARGE)
        return refuse(r, 413, "the body is larger than this server takes");
    if (rc < 0)
        return refuse(r, 400, "the chunked body is malformed");
    r->body_len += written;
    r->rest_at += taken;
    if (rc == 1) {
        r->phase = REQUEST_WHOLE;
        return 0;
    }
    /* All was taken: the framing is dropped from the buffer, so that it holds no more than head and payload. */
    r->raw.len = r->rest_at = r->body_at + r->body_len;
    return 0;
}

static struct tc_str resolve(const struct request *r, struct head_span s) {
    return (struct tc_str){r->raw.data + r->scan.start + s.at, s.n};
}

/* A target is a path, "*", or http://authority/path; of the last only the path counts. */
static void split_target(struct http_request *req, struct tc_str target) {
    if (target.p[0] != '/' && target.p[0] != '*') {
        const char *end = target.p + target.n, *p = target.p;
        while (p < end && *p != ':')
            p++;
        p = end - p > 3 ? p + 3 : end;
        while (p < end && *p != '/' && *p != '?')
            p++;
        target = (struct tc_str){p, (size_t)(end - p)};
    }
    const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
    req->path = mark ? (struct tc_str){target.p, (size_t)(mark - target.p)} : target;
    req->query = mark ? (struct tc_str){mark + 1, target.n - req->path.n - 1} : (struct tc_str){NULL, 0};
    if (req->path.n == 0)
        req->path = TC_STR("/");
}

static void present(struct request *r) {
    struct http_request *req = &r->parsed;
    const struct head *h = &r->head;
    req->method = h->method;
    req->http10 = h->http10;
    split_target(req, resolve(r, h->target));
    req->field_count = h->count;
    for (size_t i = 0; i < h->count; i++)
        req->fields[i] = (struct http_field){resolve(r, h->names[i]), resolve(r, h->values[i])};
    req->body = (struct tc_str){r->raw.data + r->body_at, r->body_len};
}

int request_parse(struct request *r) {
    int rc = 0;
    if (r->phase == REQUEST_HEAD)
        rc = parse_head(r);
    if (rc == 0 && r->phase == REQUEST_LENGTH)
        rc = parse_length(r);
    if (rc == 0 && r->phase == REQUEST_CHUNKED)
        rc = parse_chunked(r);
    if (rc != 0 || r->phase != REQUEST_WHOLE)
        return rc;
    present(r);
    return 1;
}

bool request_wants_continue(struct request *r) {
    bool wants = r->head.expect_continue && (r->phase == REQUEST_LENGTH || r->phase == REQUEST_CHUNKED);
    r->head.expect_continue = false;
    /* A peer that has begun its body does not wait (RFC 9110, 10.1.1). */
    return wants && r->raw.len == r->body_at && r->chunked.state == CHUNKED_SIZE && r->chunked.digits == 0;
}

bool request_next(struct request *r) {
    tc_buf_consume(&r->raw, r->rest_at);
    r->phase = REQUEST_HEAD;
    r->scan = (struct head_scan){0};
    r->chunked = (struct chunked){0};
    r->body_at = r->body_len = r->rest_at = 0;
    return r->raw.len > 0;
}
