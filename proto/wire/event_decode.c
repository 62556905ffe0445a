/* An event from foreign bytes. Two steps, because the map may have any order: which type it is (the encoder puts that
 * first, so this looks at one key), then each key by that type's table. Pure functions, no allocation. */
#include "base/utf8.h"
#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/event_delta.h"
#include "wire/event_fields.h"
#include "wire/mp.h"

#define INNER_DEPTH   (TC_EVENT_MAX_DEPTH - 1) /* below the outer map */
#define TYPE_NAME_MAX 64
#define EXACT_DOUBLE  9007199254740992.0 /* 2^53: up to here each integer is one double */

/* Opens the outer map. */
static int open_map(struct tc_mp *m, uint32_t *count) {
    struct tc_mp_value v;
    int err = tc_mp_next(m, &v);
    if (err < 0)
        return err;
    if (v.type != TC_MP_MAP)
        return TC_ESYNTAX;
    *count = v.v.count;
    return *count > TC_EVENT_MAX_KEYS ? TC_ETOOLARGE : 0;
}

static int read_str(struct tc_mp *m, struct tc_str *out) {
    struct tc_mp_value v;
    int err = tc_mp_next(m, &v);
    if (err < 0)
        return err;
    if (v.type != TC_MP_STR || !tc_utf8_valid(v.s))
        return TC_ESYNTAX;
    *out = v.s;
    return 0;
}

/* Some writers' languages have one number type and send large integers as floats; whole ones are taken. */
static bool whole_number(const struct tc_mp_value *v, int64_t *out) {
    if (v->type != TC_MP_FLOAT || !(v->v.d >= -EXACT_DOUBLE && v->v.d <= EXACT_DOUBLE))
        return false;
    *out = (int64_t)v->v.d;
    return (double)*out == v->v.d;
}

static int to_uint(const struct tc_mp_value *v, uint64_t *out) {
    int64_t whole;
    if (v->type == TC_MP_UINT)
        *out = v->v.u;
    else if (whole_number(v, &whole) && whole >= 0)
        *out = (uint64_t)whole;
    else
        return TC_ESYNTAX;
    return 0;
}

static int to_int(const struct tc_mp_value *v, int64_t *out) {
    if (v->type == TC_MP_INT)
        *out = v->v.i;
    else if (v->type == TC_MP_UINT && v->v.u <= INT64_MAX)
        *out = (int64_t)v->v.u;
    else if (!whole_number(v, out))
        return TC_ESYNTAX;
    return 0;
}

static int read_kept_row(struct tc_mp *m, struct tc_kept *row) {
    struct tc_mp_value v;
    struct tc_str key;
    int err = tc_mp_next(m, &v);
    if (err < 0)
        return err;
    if (v.type != TC_MP_MAP)
        return TC_ESYNTAX;
    *row = (struct tc_kept){.kind = TC_STR("text")};
    for (uint32_t left = v.v.count; left > 0; left--) {
        if ((err = read_str(m, &key)) < 0)
            return err;
        if (tc_str_is(key, "kind")) {
            err = read_str(m, &row->kind);
        } else if (tc_str_is(key, "index") || tc_str_is(key, "length")) {
            uint64_t *to = tc_str_is(key, "index") ? &row->index : &row->length;
            err = tc_mp_next(m, &v);
            err = err < 0 ? err : to_uint(&v, to);
        } else {
            err = tc_mp_skip(m, INNER_DEPTH - 2);
        }
        if (err < 0)
            return err;
    }
    return 0;
}

static int read_kept(struct tc_mp *m, uint32_t count, struct tc_event *out) {
    if (count > TC_KEPT_MAX)
        return TC_ETOOLARGE;
    for (uint32_t i = 0; i < count; i++) {
        int err = read_kept_row(m, &out->kept[i]);
        if (err < 0)
            return err;
    }
    out->kept_count = count;
    return 0;
}

/* Any value, kept as its bytes; `first` is where it begins. */
static int read_raw(struct tc_mp *m, const unsigned char *first, const struct tc_mp_value *v,
                    const struct event_field *f, struct tc_str *out) {
    if (f->kind == FIELD_RAW_MAP && v->type != TC_MP_MAP)
        return TC_ESYNTAX;
    m->p = first;
    int err = tc_mp_skip(m, INNER_DEPTH);
    *out = (struct tc_str){(const char *)first, (size_t)(m->p - first)};
    return err;
}

/* The value of a known field. nil is what some languages write for what is not there. */
static int read_field(struct tc_mp *m, const struct event_field *f, struct tc_event *out) {
    const unsigned char *first = m->p;
    void *member = (char *)out + f->offset;
    struct tc_mp_value v;
    int err = tc_mp_next(m, &v);
    if (err < 0)
        return err;
    if (v.type == TC_MP_NIL)
        return f->required ? TC_ESYNTAX : 0;
    if (f->flag != 0)
        *(bool *)((char *)out + f->flag) = true;
    switch (f->kind) {
    case FIELD_STR:
        if (v.type != TC_MP_STR || !tc_utf8_valid(v.s))
            return TC_ESYNTAX;
        *(struct tc_str *)member = v.s;
        return 0;
    case FIELD_UINT:
        return to_uint(&v, member);
    case FIELD_INT:
        return to_int(&v, member);
    case FIELD_BOOL:
        *(bool *)member = v.type == TC_MP_BOOL && v.v.b;
        return v.type == TC_MP_BOOL ? 0 : TC_ESYNTAX;
    case FIELD_RAW:
    case FIELD_RAW_MAP:
        return read_raw(m, first, &v, f, member);
    case FIELD_POSITION:
        return v.type == TC_MP_STR ? tc_position_parse(v.s.p, v.s.n, member) : TC_ESYNTAX;
    case FIELD_KEPT:
        return v.type == TC_MP_ARRAY ? read_kept(m, v.v.count, out) : TC_ESYNTAX;
    }
    return TC_ESYNTAX;
}

/* The name becomes the `event:` of a Server-Sent Event: one line of visible ASCII. */
static bool type_name_valid(struct tc_str name) {
    if (name.n == 0 || name.n > TYPE_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] <= ' ' || name.p[i] > '~')
            return false;
    return true;
}

/* Looks for `type` with a cursor of its own. Where it comes first, as the encoder has it, m goes on after it. */
static int read_type(struct tc_mp *m, uint32_t *count, struct tc_event *out) {
    struct tc_mp ahead = *m;
    struct tc_str key;
    int err;
    for (uint32_t i = 0; i < *count; i++) {
        if ((err = read_str(&ahead, &key)) < 0)
            return err;
        if (tc_str_is(key, "type")) {
            if ((err = read_str(&ahead, &out->type_name)) < 0)
                return err;
            out->type = event_type_find(out->type_name);
            if (i == 0) {
                *m = ahead;
                --*count;
            }
            return type_name_valid(out->type_name) ? 0 : TC_ESYNTAX;
        }
        if ((err = tc_mp_skip(&ahead, INNER_DEPTH)) < 0)
            return err;
    }
    return TC_ESYNTAX;
}

static int read_fields(struct tc_mp *m, uint32_t count, struct tc_event *out) {
    struct tc_str key;
    uint32_t seen = 0; /* bit i: row i of the type's table has had its value */
    size_t row;
    for (; count > 0; count--) {
        int err = read_str(m, &key);
        if (err < 0)
            return err;
        const struct event_field *f = event_field_find(out->type, key, &row);
        if (f != NULL && !(seen >> row & 1)) {
            seen |= UINT32_C(1) << row;
            err = read_field(m, f, out);
        } else {
            err = tc_mp_skip(m, INNER_DEPTH);
        }
        if (err < 0)
            return err;
    }
    for (const struct event_field *f = event_fields(out->type); f->name.n != 0; f++, seen >>= 1)
        if (f->required && !(seen & 1))
            return TC_ESYNTAX;
    return 0;
}

/* The name of a delta's kind is only kept where the enum does not say it. */
static void settle_kind(struct tc_event *ev) {
    if (ev->kind_name.n == 0 || tc_str_is(ev->kind_name, "text"))
        ev->kind = TC_KIND_TEXT;
    else if (tc_str_is(ev->kind_name, "reasoning"))
        ev->kind = TC_KIND_REASONING;
    else
        ev->kind = TC_KIND_OTHER;
    if (ev->kind != TC_KIND_OTHER)
        ev->kind_name = (struct tc_str){NULL, 0};
}

/* All but the rows of `kept`, which are most of the struct and count only up to kept_count. */
static void clear(struct tc_event *ev) {
    size_t behind = offsetof(struct tc_event, kept) + sizeof(ev->kept);
    memset(ev, 0, offsetof(struct tc_event, kept));
    memset((char *)ev + behind, 0, sizeof(*ev) - behind);
}

int tc_event_decode(const void *bytes, size_t len, struct tc_event *out) {
    struct tc_mp m;
    uint32_t count;
    int err;
    clear(out);
    if (len > TC_EVENT_MAX_BYTES)
        return TC_ETOOLARGE;
    if (len == 0)
        return TC_ESYNTAX;
    if (event_delta_read((struct tc_str){bytes, len}, out)) {
        settle_kind(out);
        return 0;
    }
    clear(out);
    m = (struct tc_mp){bytes, (const unsigned char *)bytes + len};
    if ((err = open_map(&m, &count)) < 0 || (err = read_type(&m, &count, out)) < 0 ||
        (err = read_fields(&m, count, out)) < 0)
        return err;
    if (out->type == TC_EV_DELTA)
        settle_kind(out);
    return m.p == m.end ? 0 : TC_ESYNTAX;
}
