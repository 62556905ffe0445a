/* The HTTP request reader: whatever comes, and however it is cut, it stays inside its buffer, and cutting changes
 * nothing. The first byte chooses the size of the pieces. */
#include "http/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_HEAD 512
#define MAX_BODY 256

struct digest { /* what the whole input read as */
    unsigned requests;
    int last;
    size_t bytes; /* of paths, fields and bodies */
};

static void require(int condition) {
    if (!condition)
        abort();
}

static void inside(const struct request *r, struct tc_str s) {
    require(s.n == 0 || (s.p >= r->raw.data && s.p + s.n <= r->raw.data + r->raw.len));
}

static void look(const struct request *r, struct digest *d) {
    const struct http_request *req = &r->parsed;
    char value[64];
    require(req->path.n > 0 && req->body.n <= MAX_BODY && req->field_count <= HTTP_MAX_HEADERS);
    inside(r, req->query);
    inside(r, req->body);
    for (size_t i = 0; i < req->field_count; i++) {
        inside(r, req->fields[i].name);
        inside(r, req->fields[i].value);
        require(req->fields[i].name.n > 0);
        d->bytes += req->fields[i].name.n + req->fields[i].value.n;
    }
    d->bytes += req->path.n + req->query.n + req->body.n;
    d->requests++;
    (void)http_query(req->query, "after", value, sizeof(value));
    (void)http_accepts(req, "text/event-stream");
}

static struct digest read_all(const char *p, size_t n, size_t piece) {
    struct digest d = {0};
    struct request r;
    request_init(&r, MAX_HEAD, MAX_BODY);
    while (d.last == 0) {
        size_t room = request_room(&r), take = n < piece ? n : piece;
        take = take < room ? take : room;
        if (take == 0)
            break;
        require(request_append(&r, p, take) == 0);
        p += take;
        n -= take;
        while ((d.last = request_parse(&r)) == 1) {
            look(&r, &d);
            if (!request_next(&r)) {
                d.last = 0;
                break;
            }
        }
        require(d.last == 0 || (d.last >= 400 && d.last < 600 && r.why != NULL));
        require(d.last != 0 || request_room(&r) > 0);
    }
    request_fini(&r);
    return d;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1)
        return 0;
    const char *p = (const char *)data + 1;
    struct digest whole = read_all(p, size - 1, size), cut = read_all(p, size - 1, (size_t)(data[0] % 64) + 1);
    require(whole.requests == cut.requests && whole.last == cut.last && whole.bytes == cut.bytes);
    return 0;
}
