/* The event-stream parser: any bytes, cut where their first two say. However they are cut, the same comes out. */
#include "provider/sse.h"

#include <stdint.h>
#include <stdlib.h>

struct seen {
    uint64_t hash;
    unsigned events;
};

static void mix(struct seen *s, struct tc_str bytes) {
    for (size_t i = 0; i < bytes.n; i++)
        s->hash = (s->hash ^ (unsigned char)bytes.p[i]) * 1099511628211u;
    s->hash = (s->hash ^ 256) * 1099511628211u;
}

static bool on_event(void *arg, struct tc_str name, struct tc_str data) {
    struct seen *s = arg;

    mix(s, name);
    mix(s, data);
    s->events++;
    return s->events % 3 != 0; /* stopping and going on is part of it */
}

/* False: the stream was refused. */
static bool feed(struct sse *sse, struct tc_str bytes) {
    while (bytes.n > 0) {
        size_t used = 0;
        if (sse_feed(sse, bytes, &used) != 0)
            return false;
        if (used == 0 || used > bytes.n)
            abort();
        bytes = (struct tc_str){bytes.p + used, bytes.n - used};
    }
    return true;
}

static struct seen read_all(struct tc_str bytes, size_t cut) {
    struct seen seen = {0};
    struct sse sse;

    sse_init(&sse, on_event, &seen);
    if (feed(&sse, (struct tc_str){bytes.p, cut}) && feed(&sse, (struct tc_str){bytes.p + cut, bytes.n - cut}))
        sse_finish(&sse);
    sse_fini(&sse);
    return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2)
        return 0;
    struct tc_str bytes = {(const char *)data + 2, size - 2};
    size_t cut = bytes.n > 0 ? (size_t)(data[0] << 8 | data[1]) % bytes.n : 0;
    struct seen whole = read_all(bytes, 0), parts = read_all(bytes, cut);
    if (whole.hash != parts.hash || whole.events != parts.events)
        abort();
    return 0;
}
