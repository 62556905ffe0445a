/* See foreign.h. */
#include "provider/foreign.h"

#include "base/buf.h"
#include "base/utf8.h"
#include "wire/json.h"

/* The text with every byte that is no part of a character replaced. */
static void repair(struct tc_buf *out, struct tc_str text) {
    while (text.n > 0) {
        size_t n = tc_utf8_char(text);
        if (n > 0)
            tc_buf_append(out, text.p, n);
        else
            tc_buf_puts(out, "\xef\xbf\xbd");
        n = n > 0 ? n : 1;
        text = (struct tc_str){text.p + n, text.n - n};
    }
}

json_t *foreign_json(struct tc_str text) {
    int err;
    if (tc_utf8_valid(text))
        return tc_json_load(text, JSON_ALLOW_NUL, NULL, &err);

    struct tc_buf fixed;
    tc_buf_init(&fixed, 0);
    repair(&fixed, text);
    json_t *root = tc_buf_ok(&fixed) ? tc_json_load(tc_buf_str(&fixed), JSON_ALLOW_NUL, NULL, &err) : NULL;
    tc_buf_fini(&fixed);
    return root;
}

struct tc_str foreign_value(const json_t *value) {
    if (!json_is_string(value))
        return (struct tc_str){"", 0};
    return (struct tc_str){json_string_value(value), json_string_length(value)};
}

struct tc_str foreign_str(const json_t *object, const char *name) {
    return foreign_value(json_object_get(object, name));
}
