/* A MessagePack cursor over untrusted bytes; see mp.h. Pure functions. Format: the MessagePack specification. */
#include "wire/mp.h"

#include "tokencast/error.h"

/* Big-endian unsigned of n bytes at p. */
static uint64_t be(const unsigned char *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

/* Takes n bytes off the cursor, or NULL if there are fewer. */
static const unsigned char *take(struct tc_mp *m, uint64_t n) {
    const unsigned char *p = m->p;
    if (n > (uint64_t)(m->end - m->p))
        return NULL;
    m->p += n;
    return p;
}

static int body(struct tc_mp *m, struct tc_mp_value *out, enum tc_mp_type type, uint64_t n) {
    const unsigned char *p = take(m, n);
    if (p == NULL)
        return TC_ESYNTAX;
    out->type = type;
    out->s = (struct tc_str){(const char *)p, (size_t)n};
    return 0;
}

/* STR, BIN, EXT whose length is the next `width` bytes; ext has one more byte, its type, in front of the body. */
static int sized(struct tc_mp *m, struct tc_mp_value *out, enum tc_mp_type type, size_t width) {
    const unsigned char *p = take(m, width);
    if (p == NULL || (type == TC_MP_EXT && take(m, 1) == NULL))
        return TC_ESYNTAX;
    return body(m, out, type, be(p, width));
}

static int counted(struct tc_mp *m, struct tc_mp_value *out, enum tc_mp_type type, uint64_t count) {
    uint64_t least = type == TC_MP_MAP ? count * 2 : count;
    if (least > (uint64_t)(m->end - m->p))
        return TC_ESYNTAX;
    out->type = type;
    out->v.count = (uint32_t)count;
    return 0;
}

static int counted_wide(struct tc_mp *m, struct tc_mp_value *out, enum tc_mp_type type, size_t width) {
    const unsigned char *p = take(m, width);
    return p == NULL ? TC_ESYNTAX : counted(m, out, type, be(p, width));
}

static int uint_wide(struct tc_mp *m, struct tc_mp_value *out, size_t width) {
    const unsigned char *p = take(m, width);
    if (p == NULL)
        return TC_ESYNTAX;
    out->type = TC_MP_UINT;
    out->v.u = be(p, width);
    return 0;
}

/* Signed formats may carry what is not negative: that is a UINT like any other. */
static int int_wide(struct tc_mp *m, struct tc_mp_value *out, size_t width) {
    const unsigned char *p = take(m, width);
    if (p == NULL)
        return TC_ESYNTAX;
    uint64_t v = be(p, width), sign = UINT64_C(1) << (width * 8 - 1);
    out->type = v & sign ? TC_MP_INT : TC_MP_UINT;
    if (v & sign)
        out->v.i = -(int64_t)(sign - (v & (sign - 1)) - 1) - 1;
    else
        out->v.u = v;
    return 0;
}

static int floating(struct tc_mp *m, struct tc_mp_value *out, size_t width) {
    const unsigned char *p = take(m, width);
    if (p == NULL)
        return TC_ESYNTAX;
    out->type = TC_MP_FLOAT;
    if (width == 4) {
        uint32_t bits = (uint32_t)be(p, 4);
        float f;
        memcpy(&f, &bits, sizeof(f));
        out->v.d = (double)f;
    } else {
        uint64_t bits = be(p, 8);
        memcpy(&out->v.d, &bits, sizeof(out->v.d));
    }
    return 0;
}

int tc_mp_next(struct tc_mp *m, struct tc_mp_value *out) {
    if (m->p == m->end)
        return TC_ESYNTAX;
    unsigned char c = *m->p++;
    if (c < 0x80) {
        out->type = TC_MP_UINT;
        out->v.u = c;
        return 0;
    }
    if (c >= 0xe0) {
        out->type = TC_MP_INT;
        out->v.i = (int)c - 0x100;
        return 0;
    }
    if (c < 0x90)
        return counted(m, out, TC_MP_MAP, c & 0x0f);
    if (c < 0xa0)
        return counted(m, out, TC_MP_ARRAY, c & 0x0f);
    if (c < 0xc0)
        return body(m, out, TC_MP_STR, c & 0x1f);
    switch (c) {
    case 0xc0:
        out->type = TC_MP_NIL;
        return 0;
    case 0xc2:
    case 0xc3:
        out->type = TC_MP_BOOL;
        out->v.b = c == 0xc3;
        return 0;
    case 0xc4:
    case 0xc5:
    case 0xc6:
        return sized(m, out, TC_MP_BIN, (size_t)1 << (c - 0xc4));
    case 0xc7:
    case 0xc8:
    case 0xc9:
        return sized(m, out, TC_MP_EXT, (size_t)1 << (c - 0xc7));
    case 0xca:
    case 0xcb:
        return floating(m, out, c == 0xca ? 4 : 8);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        return uint_wide(m, out, (size_t)1 << (c - 0xcc));
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        return int_wide(m, out, (size_t)1 << (c - 0xd0));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
        return take(m, 1) == NULL ? TC_ESYNTAX : body(m, out, TC_MP_EXT, UINT64_C(1) << (c - 0xd4));
    case 0xd9:
    case 0xda:
    case 0xdb:
        return sized(m, out, TC_MP_STR, (size_t)1 << (c - 0xd9));
    case 0xdc:
    case 0xdd:
        return counted_wide(m, out, TC_MP_ARRAY, c == 0xdc ? 2 : 4);
    case 0xde:
    case 0xdf:
        return counted_wide(m, out, TC_MP_MAP, c == 0xde ? 2 : 4);
    default: /* 0xc1, reserved */
        return TC_ESYNTAX;
    }
}
