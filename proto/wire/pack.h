/* msgpack-c's packer writing into a tc_buf. Failures stay in the buffer (tc_buf_ok). */
#ifndef TC_WIRE_PACK_H
#define TC_WIRE_PACK_H

#include "base/buf.h"
#include "base/str.h"

#include <msgpack/pack.h>

static inline int pack_write(void *data, const char *bytes, size_t n) {
    tc_buf_append(data, bytes, n);
    return 0;
}

static inline void pack_init(msgpack_packer *pk, struct tc_buf *out) {
    msgpack_packer_init(pk, out, pack_write);
}

static inline void pack_str(msgpack_packer *pk, struct tc_str s) {
    msgpack_pack_str(pk, s.n);
    if (s.n > 0)
        msgpack_pack_str_body(pk, s.p, s.n);
}

#endif
