/* Walks over one whole MessagePack value: passing it, writing it as JSON. A small stack of open containers stands in
 * for recursion, so that the depth of foreign bytes is a number and not the thread's stack. Pure functions. */
#include "wire/mp.h"

#include "base/base64.h"
#include "base/utf8.h"
#include "tokencast/error.h"
#include "wire/json.h"

struct level {
    uint64_t left; /* elements still to come; a map counts keys and values */
    bool map;
};

struct walk {
    struct level open[TC_MP_MAX_DEPTH];
    unsigned depth, max_depth;
};

static void walk_init(struct walk *w, unsigned max_depth) {
    w->depth = 0;
    w->max_depth = max_depth < TC_MP_MAX_DEPTH ? max_depth : TC_MP_MAX_DEPTH;
}

/* Is the next value a key? */
static bool at_key(const struct walk *w) {
    return w->depth > 0 && w->open[w->depth - 1].map && w->open[w->depth - 1].left % 2 == 0;
}

/* The next token, with what holds for every walk: strings are UTF-8, keys are no containers, the depth is bounded. */
static int step(struct walk *w, struct tc_mp *m, struct tc_mp_value *v) {
    int err = tc_mp_next(m, v);
    if (err < 0)
        return err;
    if (v->type == TC_MP_STR)
        return tc_utf8_valid(v->s) ? 0 : TC_ESYNTAX;
    if (v->type != TC_MP_ARRAY && v->type != TC_MP_MAP)
        return 0;
    if (at_key(w))
        return TC_ESYNTAX;
    return w->depth == w->max_depth ? TC_ETOOLARGE : 0;
}

/* Counts a token that step() gave: opens a container, or fills a place in the one that is open. */
static void count_in(struct walk *w, const struct tc_mp_value *v) {
    if (w->depth > 0)
        w->open[w->depth - 1].left--;
    if (v->type == TC_MP_ARRAY || v->type == TC_MP_MAP) {
        bool map = v->type == TC_MP_MAP;
        w->open[w->depth++] = (struct level){(uint64_t)v->v.count * (map ? 2 : 1), map};
    }
}

int tc_mp_skip(struct tc_mp *m, unsigned max_depth) {
    struct walk w;
    struct tc_mp_value v;
    walk_init(&w, max_depth);
    do {
        int err = step(&w, m, &v);
        if (err < 0)
            return err;
        count_in(&w, &v);
        while (w.depth > 0 && w.open[w.depth - 1].left == 0)
            w.depth--;
    } while (w.depth > 0);
    return 0;
}

static void put_base64(struct tc_buf *out, struct tc_str s) {
    char *to = tc_buf_reserve(out, TC_BASE64_LEN(s.n) + 2);
    if (to == NULL)
        return;
    *to++ = '"';
    to += tc_base64url(to, s.p, s.n);
    *to = '"';
    out->len += TC_BASE64_LEN(s.n) + 2;
}

static void put_scalar(struct tc_buf *out, const struct tc_mp_value *v) {
    switch (v->type) {
    case TC_MP_BOOL:
        tc_buf_puts(out, v->v.b ? "true" : "false");
        break;
    case TC_MP_UINT:
        tc_buf_put_u64(out, v->v.u);
        break;
    case TC_MP_INT:
        tc_buf_put_i64(out, v->v.i);
        break;
    case TC_MP_FLOAT:
        tc_json_double(out, v->v.d);
        break;
    case TC_MP_STR:
        tc_json_string(out, v->s);
        break;
    case TC_MP_BIN:
        put_base64(out, v->s);
        break;
    default: /* nil, and ext, whose meaning only its makers know */
        tc_buf_puts(out, "null");
        break;
    }
}

/* JSON keys are strings; a foreign writer's numbers and booleans are put in quotes. */
static void put_key(struct tc_buf *out, const struct tc_mp_value *v) {
    bool quoted = v->type != TC_MP_STR && v->type != TC_MP_BIN;
    if (quoted)
        tc_buf_putc(out, '"');
    put_scalar(out, v);
    if (quoted)
        tc_buf_putc(out, '"');
}

/* Closes what is full, and writes what stands between the last value and the next. */
static void put_between(struct walk *w, struct tc_buf *out, bool opened) {
    while (w->depth > 0) {
        const struct level *top = &w->open[w->depth - 1];
        if (top->left > 0) {
            if (!opened)
                tc_buf_putc(out, top->map && top->left % 2 == 1 ? ':' : ',');
            return;
        }
        tc_buf_putc(out, top->map ? '}' : ']');
        w->depth--;
        opened = false;
    }
}

int tc_mp_to_json(struct tc_mp *m, struct tc_buf *out, unsigned max_depth) {
    struct walk w;
    struct tc_mp_value v;
    walk_init(&w, max_depth);
    do {
        int err = step(&w, m, &v);
        if (err < 0)
            return err;
        bool opened = v.type == TC_MP_ARRAY || v.type == TC_MP_MAP;
        if (opened)
            tc_buf_putc(out, v.type == TC_MP_MAP ? '{' : '[');
        else if (at_key(&w))
            put_key(out, &v);
        else
            put_scalar(out, &v);
        count_in(&w, &v);
        put_between(&w, out, opened);
    } while (w.depth > 0);
    return tc_buf_ok(out) ? 0 : TC_ENOMEM;
}
