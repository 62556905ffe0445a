/* See fault.h. */
#include "provider/fault.h"

#include "base/utf8.h"
#include "provider/foreign.h"

#include <ctype.h>
#include <string.h>

#define WORDS_MAX 256 /* bytes of a server's words in a description */

/* A status lies in `code`, `http_status_code` or `status`, as a number or (OpenRouter) as digits. */
static int64_t status_in(const json_t *error) {
    static const char *const names[] = {"http_status_code", "code", "status", "status_code"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *v = json_object_get(error, names[i]);
        struct tc_str s = foreign_value(v);
        int64_t n = json_integer_value(v);
        if (s.n == 3 && isdigit((unsigned char)s.p[0]) && isdigit((unsigned char)s.p[1]) &&
            isdigit((unsigned char)s.p[2]))
            n = (s.p[0] - '0') * 100 + (s.p[1] - '0') * 10 + (s.p[2] - '0');
        if (n >= 400 && n <= 599)
            return n;
    }
    return 0;
}

static bool has_word(struct tc_str text, const char *word) {
    size_t n = strlen(word);

    for (size_t i = 0; i + n <= text.n; i++) {
        size_t k = 0;
        while (k < n && tolower((unsigned char)text.p[i + k]) == word[k])
            k++;
        if (k == n)
            return true;
    }
    return false;
}

bool fault_status_retries(int64_t status) {
    /* 424 is what TGI answers when a generation breaks down. */
    return status == 408 || status == 424 || status == 429 || (status >= 500 && status <= 599);
}

bool fault_status_refuses(int64_t status) {
    return status == 400 || status == 413 || status == 422;
}

/* The request was taken and failed later: that is the server's fault unless it says otherwise. */
static bool recoverable(const struct fault *f) {
    static const char *const final[] = {"invalid", "validation", "not_found",      "badrequest", "permission", "auth",
                                        "billing", "quota",      "context_length", "too_large",  "content_po", "input"};

    if (f->status != 0)
        return fault_status_retries(f->status);
    for (size_t i = 0; i < sizeof(final) / sizeof(final[0]); i++) {
        if (has_word(f->type, final[i]))
            return false;
    }
    return true;
}

/* The words of an error: a string, an object with `message`, or FastAPI's list of findings. */
static struct tc_str message_in(const json_t *error) {
    static const char *const names[] = {"message", "error", "detail", "msg"};

    if (json_is_string(error))
        return foreign_value(error);
    if (json_is_array(error))
        return message_in(json_array_get(error, 0));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const json_t *v = json_object_get(error, names[i]);
        if (json_is_string(v))
            return foreign_value(v);
        if (json_is_array(v) && json_is_object(json_array_get(v, 0)))
            return foreign_str(json_array_get(v, 0), "msg");
    }
    return (struct tc_str){"", 0};
}

static void read_type(struct fault *f, const json_t *error) {
    f->type = foreign_str(error, "type");
    if (f->type.n == 0)
        f->type = foreign_str(error, "error_type");
    if (f->type.n == 0 || tc_str_is(f->type, "error"))
        f->type = foreign_str(error, "code");
}

bool fault_read(struct fault *out, const json_t *root, bool sure) {
    const json_t *error = json_object_get(root, "error");
    bool flat = tc_str_is(foreign_str(root, "object"), "error");

    memset(out, 0, sizeof(*out));
    if (json_is_object(error)) {
        root = error;
    } else if (!json_is_string(error) && !flat) {
        /* Bare {"message", "type" or "code"} is no chunk in any dialect. */
        bool bare = !json_object_get(root, "choices") && json_is_string(json_object_get(root, "message")) &&
                    (json_object_get(root, "type") || json_object_get(root, "code"));
        if (!sure && !bare)
            return false;
    }
    out->message = message_in(root);
    out->status = status_in(root);
    read_type(out, root);
    out->recoverable = recoverable(out);
    return true;
}

static bool is_key_byte(char c) {
    return isalnum((unsigned char)c) || c == '-' || c == '_' || c == '*' || c == '.';
}

/* Bytes of something at the start of text that must not be shown; 0 if it begins with nothing of the kind. */
static size_t secret_len(struct tc_str text, const char *secret) {
    size_t n = secret ? strlen(secret) : 0;

    if (n >= 8 && text.n >= n && memcmp(text.p, secret, n) == 0)
        return n;
    if (text.n > 6 && (memcmp(text.p, "sk-", 3) == 0 || memcmp(text.p, "Bearer", 6) == 0)) {
        size_t from = text.p[0] == 's' ? 3 : 7;
        for (n = from; n < text.n && is_key_byte(text.p[n]);)
            n++;
        return n > from + 3 ? n : 0;
    }
    return 0;
}

void fault_scrub(struct tc_buf *out, struct tc_str text, const char *secret, size_t max) {
    char before = ' ';
    size_t start = out->len;

    for (size_t i = 0; i < text.n && out->len - start < max;) {
        struct tc_str rest = {text.p + i, text.n - i};
        size_t skip = is_key_byte(before) ? 0 : secret_len(rest, secret);
        size_t n = tc_utf8_char(rest);
        if (skip > 0) {
            tc_buf_puts(out, "***");
            i += skip;
            before = '*';
            continue;
        }
        n = n > 0 ? n : 1;
        if (n > max - (out->len - start))
            break;
        before = text.p[i];
        if (n == 1 && ((unsigned char)before < 0x20 || (unsigned char)before >= 0x7f))
            tc_buf_putc(out, ' ');
        else
            tc_buf_append(out, rest.p, n);
        i += n;
    }
}

void fault_describe(struct tc_buf *out, long status, struct tc_str body, const char *secret) {
    if (status == 401 || status == 403) {
        tc_buf_printf(out, "The model server refused the worker's key (%ld).", status);
        return;
    }
    json_t *root = foreign_json(body);
    struct fault fault;
    fault_read(&fault, root, true);
    tc_buf_printf(out, "The model server answered %ld", status);
    tc_buf_puts(out, fault.message.n > 0 ? ": " : ".");
    fault_scrub(out, fault.message, secret, WORDS_MAX);
    json_decref(root);
}
