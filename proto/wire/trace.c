/* See trace.h. Numbers in brackets are sections of the W3C Recommendation. Pure functions. */
#include "wire/trace.h"

/* version-traceid-parentid-flags: 2, 32, 16 and 2 hex digits. */
#define ID_AT       3
#define ID_BYTES    32
#define SPAN_AT     36
#define SPAN_BYTES  16
#define FLAGS_AT    53
#define MEMBERS_MAX 32  /* of tracestate (3.3.1.1) */
#define WORD_MAX    256 /* bytes of a member's key, and of its value (3.3.1.3) */

/* ---- traceparent (3.2) */

/* Capitals are malformed there, which isxdigit() does not know. */
static bool is_hex(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
            return false;
    return true;
}

static bool is_id(const char *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (p[i] != '0')
            return is_hex(p, n);
    return false;
}

static bool is_parent(struct tc_str s) {
    if (s.n < TC_TRACEPARENT_BYTES || !is_hex(s.p, 2) || memcmp(s.p, "ff", 2) == 0)
        return false;
    /* Version 00 ends here; later ones may go on behind a dash. */
    if (s.n > TC_TRACEPARENT_BYTES && (memcmp(s.p, "00", 2) == 0 || s.p[TC_TRACEPARENT_BYTES] != '-'))
        return false;
    return s.p[ID_AT - 1] == '-' && s.p[SPAN_AT - 1] == '-' && s.p[FLAGS_AT - 1] == '-' &&
           is_id(s.p + ID_AT, ID_BYTES) && is_id(s.p + SPAN_AT, SPAN_BYTES) && is_hex(s.p + FLAGS_AT, 2);
}

/* Of a later version only the sampled bit is known (4.3): the last bit of the last digit. */
static void take_parent(struct tc_trace *t, struct tc_str s) {
    bool later = memcmp(s.p, "00", 2) != 0;
    char last = s.p[FLAGS_AT + 1];
    memcpy(t->parent, s.p, TC_TRACEPARENT_BYTES);
    t->parent[TC_TRACEPARENT_BYTES] = '\0';
    if (!later)
        return;
    bool sampled = strchr("13579bdf", last) != NULL;
    memcpy(t->parent, "00", 2);
    memcpy(t->parent + FLAGS_AT, sampled ? "01" : "00", 2);
}

/* ---- tracestate (3.3) */

static bool is_alnum(char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Both forms of the key, `name` and `tenant@system`, as Level 2 has them. */
static bool is_key(struct tc_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_alnum(s.p[i]) && (i == 0 || s.p[i] == '\0' || strchr("_-*/@", s.p[i]) == NULL))
            return false;
    return s.n > 0 && s.n <= WORD_MAX;
}

static bool is_value(struct tc_str s) {
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < ' ' || s.p[i] > '~' || s.p[i] == ',' || s.p[i] == '=')
            return false;
    return s.n > 0 && s.n <= WORD_MAX && s.p[s.n - 1] != ' ';
}

static bool is_member(struct tc_str s) {
    const char *equals = memchr(s.p, '=', s.n);
    if (equals == NULL)
        return false;
    size_t key = (size_t)(equals - s.p);
    return is_key((struct tc_str){s.p, key}) && is_value((struct tc_str){equals + 1, s.n - key - 1});
}

/* Members may be empty, but not all of them: that would be a header without content. */
static bool is_state(struct tc_str s) {
    unsigned members = 0;
    while (s.n > 0) {
        const char *comma = memchr(s.p, ',', s.n);
        size_t n = comma ? (size_t)(comma - s.p) : s.n, skip = comma ? n + 1 : n;
        struct tc_str member = tc_str_trim((struct tc_str){s.p, n});
        if (member.n > 0 && (!is_member(member) || ++members > MEMBERS_MAX))
            return false;
        s = (struct tc_str){s.p + skip, s.n - skip};
    }
    return members > 0;
}

/* ---- Both */

void tc_trace_take(struct tc_trace *t, struct tc_str parent, struct tc_str state) {
    t->parent[0] = t->state[0] = '\0';
    if (!is_parent(parent))
        return;
    take_parent(t, parent);
    if (state.n > TC_TRACESTATE_MAX || !is_state(state))
        return;
    memcpy(t->state, state.p, state.n);
    t->state[state.n] = '\0';
}

void tc_trace_put_headers(const struct tc_trace *t, struct tc_buf *out) {
    if (t->parent[0] == '\0')
        return;
    tc_buf_printf(out, "traceparent: %s\n", t->parent);
    if (t->state[0] != '\0')
        tc_buf_printf(out, "tracestate: %s\n", t->state);
}

/* ---- Log lines */

static struct tc_log_field field(const struct tc_trace *t, const char *key, size_t at, size_t n) {
    if (t->parent[0] == '\0')
        return (struct tc_log_field){.kind = TC_LOG_END};
    return TC_LSTR(key, ((struct tc_str){t->parent + at, n}));
}

struct tc_log_field tc_trace_log_id(const struct tc_trace *t) {
    return field(t, "trace_id", ID_AT, ID_BYTES);
}

struct tc_log_field tc_trace_log_span(const struct tc_trace *t) {
    return field(t, "span_id", SPAN_AT, SPAN_BYTES);
}

enum tc_log_level tc_trace_log_level(const struct tc_trace *t) {
    return t->parent[0] == '\0' ? TC_LOG_DEBUG : TC_LOG_INFO;
}
