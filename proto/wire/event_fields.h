/* Which fields each type of event has and where they lie in struct tc_event: one table for the decoder and for JSON. */
#ifndef TC_WIRE_EVENT_FIELDS_H
#define TC_WIRE_EVENT_FIELDS_H

#include "base/str.h"
#include "tokencast/event.h"

enum event_field_kind {
    FIELD_STR,
    FIELD_UINT,
    FIELD_INT,
    FIELD_BOOL,
    FIELD_RAW,      /* any value, kept as its bytes */
    FIELD_RAW_MAP,  /* the same, but a map */
    FIELD_POSITION, /* its text form */
    FIELD_KEPT      /* array of maps kind, index, length */
};

struct event_field {
    struct tc_str name;
    enum event_field_kind kind;
    size_t offset; /* in struct tc_event */
    size_t flag;   /* offset of a bool that is set when the field is there; 0 = none (that is `type`) */
    bool required;
};

/* A type's own fields, ended by an empty name; `type` and `at` are not in it. */
const struct event_field *event_fields(enum tc_event_type type);

/* The row of a field, `at` included, or NULL: unknown to this type and carried through. *index counts from 0. */
const struct event_field *event_field_find(enum tc_event_type type, struct tc_str name, size_t *index);

enum tc_event_type event_type_find(struct tc_str name);

#endif
