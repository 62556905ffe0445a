/* An entry as a JSON object, straight from its bytes so that unknown fields come along; of a delta whose bytes hold
 * nothing else than the struct, from that. Pure functions. */
#include "tokencast/error.h"
#include "tokencast/event.h"
#include "wire/event_delta.h"
#include "wire/event_fields.h"
#include "wire/json.h"
#include "wire/mp.h"

static bool seen_before(const struct tc_str *keys, size_t n, struct tc_str key) {
    for (size_t i = 0; i < n; i++)
        if (tc_str_eq(keys[i], key))
            return true;
    return false;
}

/* A known field that is nil counts as absent for the decoder; readers shall not meet `"text":null` either. */
static bool is_absent(enum tc_event_type type, struct tc_str key, const struct tc_mp *value) {
    size_t row;
    return value->p < value->end && *value->p == 0xc0 && event_field_find(type, key, &row) != NULL;
}

/* The members of a map that tc_event_decode() has accepted. */
static int put_members(struct tc_buf *out, struct tc_mp *m, enum tc_event_type type) {
    struct tc_str keys[TC_EVENT_MAX_KEYS];
    struct tc_mp_value map, key;
    bool first = true;
    int err = tc_mp_next(m, &map);
    if (err == 0 && (map.type != TC_MP_MAP || map.v.count > TC_EVENT_MAX_KEYS))
        return TC_ESTATE;
    for (uint32_t i = 0; err == 0 && i < map.v.count; i++) {
        if ((err = tc_mp_next(m, &key)) < 0)
            break;
        if (key.type != TC_MP_STR)
            return TC_ESTATE;
        keys[i] = key.s;
        if (seen_before(keys, i, key.s) || is_absent(type, key.s, m)) {
            err = tc_mp_skip(m, TC_EVENT_MAX_DEPTH);
            continue;
        }
        if (!first)
            tc_buf_putc(out, ',');
        first = false;
        tc_json_string(out, key.s);
        tc_buf_putc(out, ':');
        err = tc_mp_to_json(m, out, TC_EVENT_MAX_DEPTH);
    }
    return err;
}

int tc_event_to_json(struct tc_buf *out, const struct tc_event *ev, const void *bytes, size_t len, const char *extra) {
    struct tc_mp m = {bytes, (const unsigned char *)bytes + len};
    size_t start = out->len;
    int err = 0;
    if (ev->as_encoded) {
        event_delta_json(out, ev, extra);
    } else {
        tc_buf_putc(out, '{');
        if (extra != NULL)
            tc_buf_puts(out, extra);
        err = put_members(out, &m, ev->type);
        tc_buf_putc(out, '}');
    }
    if (err == 0 && !tc_buf_ok(out))
        err = TC_ENOMEM;
    if (err < 0)
        out->len = start;
    return err;
}
