/* A MessagePack cursor over untrusted bytes: no allocation, no recursion, every claimed length checked against what
 * is there. msgpack-c's unpacker sizes arrays by the claimed count before it has seen the elements, which a hostile
 * entry can turn into gigabytes; packing does use msgpack-c. Pure functions. */
#ifndef TC_WIRE_MP_H
#define TC_WIRE_MP_H

#include "base/attr.h"
#include "base/buf.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define TC_MP_MAX_DEPTH 32 /* no walk goes deeper, whatever is asked for */

struct tc_mp {
    const unsigned char *p, *end;
};

enum tc_mp_type {
    TC_MP_NIL,
    TC_MP_BOOL,
    TC_MP_UINT,
    TC_MP_INT,
    TC_MP_FLOAT,
    TC_MP_STR,
    TC_MP_BIN,
    TC_MP_ARRAY,
    TC_MP_MAP,
    TC_MP_EXT
};

struct tc_mp_value {
    enum tc_mp_type type;
    union {
        bool b;
        uint64_t u; /* UINT */
        int64_t i;  /* INT: negative */
        double d;
        uint32_t count; /* ARRAY: elements, MAP: pairs; they follow */
    } v;
    struct tc_str s; /* STR, BIN, EXT: body */
};

/* The next token. TC_ESYNTAX when the bytes end too early or use the reserved 0xc1; a count that cannot fit in what
 * is left (one byte an element) is TC_ESYNTAX as well. */
TC_MUST_USE int tc_mp_next(struct tc_mp *m, struct tc_mp_value *out);

/* Passes one whole value with everything in it; TC_ETOOLARGE below max_depth further levels of containers (0: only a
 * scalar). Strings at any depth must be UTF-8 and keys no containers, else TC_ESYNTAX: what passes can become JSON. */
TC_MUST_USE int tc_mp_skip(struct tc_mp *m, unsigned max_depth);

/* Appends one whole value as JSON (see tc_event_to_json) with the checks of tc_mp_skip(). Keys that are no strings are
 * put in quotes. TC_ENOMEM if out failed. On error out holds a partial text: the caller rolls back. */
TC_MUST_USE int tc_mp_to_json(struct tc_mp *m, struct tc_buf *out, unsigned max_depth);

#endif
