/* An event as MessagePack. Every type has fewer than 16 fields, so that the map's header is one byte, written first
 * and corrected when the fields that are there have been counted. Pure functions. */
#include "tokencast/event.h"

#include "wire/event_delta.h"
#include "wire/event_fields.h"
#include "wire/pack.h"

#include <assert.h>

struct encoder {
    msgpack_packer pk;
    unsigned fields; /* written so far */
};

static void put_key(struct encoder *e, struct tc_str key) {
    pack_str(&e->pk, key);
    e->fields++;
}

static void put_str(struct encoder *e, struct tc_str key, struct tc_str value) {
    put_key(e, key);
    pack_str(&e->pk, value);
}

static void put_position(struct encoder *e, struct tc_str key, struct tc_position p) {
    char text[TC_POSITION_MAX];
    put_str(e, key, (struct tc_str){text, tc_position_format(p, text)});
}

static void put_kept(struct encoder *e, struct tc_str key, const struct tc_event *ev) {
    assert(ev->kept_count <= TC_KEPT_MAX);
    put_key(e, key);
    msgpack_pack_array(&e->pk, ev->kept_count);
    for (size_t i = 0; i < ev->kept_count; i++) {
        msgpack_pack_map(&e->pk, 3);
        pack_str(&e->pk, TC_STR("kind"));
        pack_str(&e->pk, ev->kept[i].kind);
        pack_str(&e->pk, TC_STR("index"));
        msgpack_pack_uint64(&e->pk, ev->kept[i].index);
        pack_str(&e->pk, TC_STR("length"));
        msgpack_pack_uint64(&e->pk, ev->kept[i].length);
    }
}

/* A field's value counts as absent at its default, unless the type always carries it or a flag says it is there. */
static void put_field(struct encoder *e, struct tc_buf *out, const struct tc_event *ev, const struct event_field *f,
                      bool always) {
    const char *member = (const char *)ev + f->offset;
    const struct tc_str *s = (const void *)member;
    const uint64_t *u = (const void *)member;
    if (f->flag != 0)
        always = *(const bool *)((const char *)ev + f->flag);
    switch (f->kind) {
    case FIELD_STR:
        if (always || s->n != 0)
            put_str(e, f->name, *s);
        break;
    case FIELD_UINT:
        if (f->flag != 0 ? always : always || *u != 0) {
            put_key(e, f->name);
            msgpack_pack_uint64(&e->pk, *u);
        }
        break;
    case FIELD_INT: /* only `at`, which every type has, last */
        break;
    case FIELD_BOOL:
        if (*(const bool *)member) {
            put_key(e, f->name);
            msgpack_pack_true(&e->pk);
        }
        break;
    case FIELD_RAW:
    case FIELD_RAW_MAP:
        if (s->n != 0) {
            put_key(e, f->name);
            tc_buf_put_str(out, *s);
        }
        break;
    case FIELD_POSITION:
        if (ev->from.attempt != 0 || ev->from.seq != 0)
            put_position(e, f->name, ev->from);
        break;
    case FIELD_KEPT:
        if (ev->kept_count != 0)
            put_kept(e, f->name, ev);
        break;
    }
}

void tc_event_encode(struct tc_buf *out, const struct tc_event *ev) {
    if (ev->type == TC_EV_DELTA) {
        event_delta_write(out, ev);
        return;
    }
    struct encoder e = {.fields = 0};
    size_t header = out->len;
    pack_init(&e.pk, out);
    msgpack_pack_map(&e.pk, 0);
    put_str(&e, TC_STR("type"), ev->type == TC_EV_UNKNOWN ? ev->type_name : tc_str_from(tc_event_type_name(ev->type)));
    for (const struct event_field *f = event_fields(ev->type); f->name.n != 0; f++)
        put_field(&e, out, ev, f, ev->type == TC_EV_TOOL_CALL && tc_str_is(f->name, "offset"));
    if (ev->at != 0) {
        put_key(&e, TC_STR("at"));
        msgpack_pack_int64(&e.pk, ev->at);
    }
    if (tc_buf_ok(out))
        out->data[header] = (char)(0x80 | e.fields);
}
