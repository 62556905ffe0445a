/* The tables behind event_fields.h. The order of a table is the order the encoder writes in. Pure functions. */
#include "wire/event_fields.h"

#define AT(member) offsetof(struct tc_event, member)
#define FIELD(wire, type, member)                                                                                      \
    { {(wire), sizeof(wire) - 1}, (type), AT(member), 0, false }
#define END                                                                                                            \
    { {NULL, 0}, FIELD_STR, 0, 0, false }

static const struct event_field created[] = {FIELD("model", FIELD_STR, model), FIELD("channel", FIELD_STR, channel),
                                             FIELD("traceparent", FIELD_STR, traceparent), END};
static const struct event_field start[] = {FIELD("model", FIELD_STR, model), FIELD("provider", FIELD_STR, provider),
                                           END};
static const struct event_field delta[] = {{{"text", 4}, FIELD_STR, AT(text), 0, true},
                                           {{"offset", 6}, FIELD_UINT, AT(offset), 0, true},
                                           FIELD("kind", FIELD_STR, kind_name),
                                           FIELD("index", FIELD_UINT, index),
                                           END};
static const struct event_field tool_call[] = {
    FIELD("index", FIELD_UINT, index),     FIELD("id", FIELD_STR, id),
    FIELD("name", FIELD_STR, name),        FIELD("arguments", FIELD_STR, arguments),
    FIELD("offset", FIELD_UINT, offset),   FIELD("done", FIELD_BOOL, done),
    FIELD("invalid", FIELD_BOOL, invalid), END};
static const struct event_field note[] = {FIELD("text", FIELD_STR, text), FIELD("kind", FIELD_STR, kind_name),
                                          FIELD("data", FIELD_RAW, data), END};
static const struct event_field attempt[] = {FIELD("attempt", FIELD_UINT, attempt),
                                             FIELD("try", FIELD_UINT, try_no),
                                             FIELD("reason", FIELD_STR, reason),
                                             FIELD("mode", FIELD_STR, mode),
                                             FIELD("from", FIELD_POSITION, from),
                                             FIELD("kept", FIELD_KEPT, kept),
                                             END};
static const struct event_field error[] = {FIELD("code", FIELD_STR, code), FIELD("message", FIELD_STR, message),
                                           FIELD("recoverable", FIELD_BOOL, recoverable),
                                           FIELD("retry_after_ms", FIELD_UINT, retry_after_ms), END};
static const struct event_field done[] = {FIELD("reason", FIELD_STR, reason),
                                          FIELD("usage", FIELD_RAW_MAP, usage),
                                          {{"ttft_ms", 7}, FIELD_UINT, AT(ttft_ms), AT(has_ttft), false},
                                          FIELD("duration_ms", FIELD_UINT, duration_ms),
                                          FIELD("text_length", FIELD_UINT, text_length),
                                          END};
static const struct event_field fence[] = {FIELD("writer", FIELD_STR, writer), END};
static const struct event_field unknown[] = {END};
static const struct event_field at = FIELD("at", FIELD_INT, at);

static const struct {
    struct tc_str name;
    const struct event_field *fields;
} types[] = {
    [TC_EV_UNKNOWN] = {{"unknown", 7}, unknown},
    [TC_EV_CREATED] = {{"created", 7}, created},
    [TC_EV_START] = {{"start", 5}, start},
    [TC_EV_DELTA] = {{"delta", 5}, delta},
    [TC_EV_TOOL_CALL] = {{"tool_call", 9}, tool_call},
    [TC_EV_NOTE] = {{"note", 4}, note},
    [TC_EV_ATTEMPT] = {{"attempt", 7}, attempt},
    [TC_EV_ERROR] = {{"error", 5}, error},
    [TC_EV_DONE] = {{"done", 4}, done},
    [TC_EV_FENCE] = {{"fence", 5}, fence},
};

#define TYPES (sizeof(types) / sizeof(types[0]))

const char *tc_event_type_name(enum tc_event_type type) {
    return (size_t)type < TYPES ? types[type].name.p : types[TC_EV_UNKNOWN].name.p;
}

enum tc_event_type event_type_find(struct tc_str name) {
    if (tc_str_eq(name, types[TC_EV_DELTA].name))
        return TC_EV_DELTA;
    for (size_t i = TC_EV_UNKNOWN + 1; i < TYPES; i++)
        if (tc_str_eq(name, types[i].name))
            return (enum tc_event_type)i;
    return TC_EV_UNKNOWN;
}

const struct event_field *event_fields(enum tc_event_type type) {
    return types[(size_t)type < TYPES ? (size_t)type : (size_t)TC_EV_UNKNOWN].fields;
}

const struct event_field *event_field_find(enum tc_event_type type, struct tc_str name, size_t *index) {
    const struct event_field *fields = event_fields(type), *f = fields;
    for (; f->name.n != 0; f++) {
        if (tc_str_eq(f->name, name)) {
            *index = (size_t)(f - fields);
            return f;
        }
    }
    *index = (size_t)(f - fields);
    return tc_str_eq(at.name, name) ? &at : NULL;
}
