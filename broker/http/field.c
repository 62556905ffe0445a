/* Looking up header fields. Pure; loop thread not needed. */
#include "http/http.h"

#include <string.h>
#include <strings.h>

struct tc_str http_header(const struct http_request *req, const char *name) {
    for (size_t i = 0; i < req->field_count; i++)
        if (tc_str_is(req->fields[i].name, name))
            return req->fields[i].value;
    return (struct tc_str){NULL, 0};
}

/* Cuts the part before the next `mark` off *rest, leaving quoted strings whole. False when nothing is left. */
static bool next_part(struct tc_str *rest, char mark, struct tc_str *part) {
    if (rest->p == NULL)
        return false;
    size_t i = 0;
    bool quoted = false;
    for (; i < rest->n && (quoted || rest->p[i] != mark); i++) {
        if (rest->p[i] == '"')
            quoted = !quoted;
        else if (quoted && rest->p[i] == '\\' && i + 1 < rest->n)
            i++;
    }
    *part = tc_str_trim((struct tc_str){rest->p, i});
    *rest = i < rest->n ? (struct tc_str){rest->p + i + 1, rest->n - i - 1} : (struct tc_str){NULL, 0};
    return true;
}

/* q=0, q=0.0, q=0.00, q=0.000 (RFC 9110, 12.4.2). */
static bool is_zero_weight(struct tc_str param) {
    if (param.n < 3 || (param.p[0] != 'q' && param.p[0] != 'Q') || param.p[1] != '=' || param.p[2] != '0')
        return false;
    for (size_t i = 3; i < param.n; i++)
        if (param.p[i] != '.' && param.p[i] != '0')
            return false;
    return true;
}

static bool range_names(struct tc_str range, struct tc_str type) {
    struct tc_str part;
    if (!next_part(&range, ';', &part) || part.n != type.n || strncasecmp(part.p, type.p, type.n) != 0)
        return false;
    while (next_part(&range, ';', &part))
        if (is_zero_weight(part))
            return false;
    return true;
}

bool http_accepts(const struct http_request *req, const char *type) {
    struct tc_str wanted = tc_str_from(type), range;
    for (size_t i = 0; i < req->field_count; i++) {
        if (!tc_str_is(req->fields[i].name, "accept"))
            continue;
        struct tc_str rest = req->fields[i].value;
        while (next_part(&rest, ',', &range))
            if (range_names(range, wanted))
                return true;
    }
    return false;
}
