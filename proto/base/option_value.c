/* Texts of option values: durations, sizes, addresses, words. Main thread, at startup. */
#include "base/option_value.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

struct unit {
    const char *suffix;
    int64_t factor;
};

/* Ascending; the first is the bare number. */
static const struct unit durations[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct unit sizes[] = {{"", 1}, {"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Copies stay reachable from here for as long as the process runs. */
struct kept {
    struct kept *next;
    char text[];
};
static struct kept *all_kept;

static const char *keep(const char *text) {
    size_t n = strlen(text) + 1;
    struct kept *k = malloc(sizeof(*k) + n);
    if (k == NULL)
        abort();
    memcpy(k->text, text, n);
    k->next = all_kept;
    all_kept = k;
    return k->text;
}

/* Digits at *p; TC_ESYNTAX when there are none, TC_ERANGE past INT64_MAX. */
static int read_digits(const char **p, int64_t *out) {
    const char *start = *p;
    int64_t v = 0;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        int digit = **p - '0';
        if (v > (INT64_MAX - digit) / 10)
            return TC_ERANGE;
        v = v * 10 + digit;
    }
    *out = v;
    return *p == start ? TC_ESYNTAX : 0;
}

static bool same_suffix(const char *a, const char *b) {
    for (; *a != '\0' && (*a | 0x20) == *b; a++, b++)
        ;
    return *a == '\0' && *b == '\0';
}

static int read_unit(const char *text, const struct unit *units, size_t n, int64_t *out) {
    const char *p = text;
    int err = read_digits(&p, out);
    if (err < 0 || *p == '\0')
        return err;
    for (size_t i = 0; i < n; i++) {
        if (!same_suffix(p, units[i].suffix))
            continue;
        if (*out > INT64_MAX / units[i].factor)
            return TC_ERANGE;
        *out *= units[i].factor;
        return 0;
    }
    return TC_ESYNTAX;
}

static int read_int(const char *text, int64_t *out) {
    bool negative = *text == '-';
    const char *p = text + negative;
    int err = read_digits(&p, out);
    if (negative)
        *out = -*out;
    return err < 0 ? err : *p == '\0' ? 0 : TC_ESYNTAX;
}

static int read_number(enum tc_option_type type, const char *text, int64_t *out) {
    if (type == TC_OPT_DURATION)
        return read_unit(text, durations, COUNT(durations), out);
    if (type == TC_OPT_SIZE)
        return read_unit(text, sizes, COUNT(sizes), out);
    return read_int(text, out);
}

void option_put_number(struct tc_buf *out, enum tc_option_type type, int64_t v) {
    const struct unit *units = type == TC_OPT_DURATION ? durations : sizes;
    size_t i = type == TC_OPT_DURATION ? COUNT(durations) : type == TC_OPT_SIZE ? COUNT(sizes) : 1;
    while (--i > 0 && (v == 0 || v % units[i].factor != 0))
        ;
    tc_buf_put_i64(out, v / units[i].factor);
    if (type == TC_OPT_DURATION || type == TC_OPT_SIZE)
        tc_buf_puts(out, units[i].suffix);
}

static int store_number(const struct tc_option *row, void *member, const char *text, struct tc_buf *err) {
    int64_t v = 0;
    bool bounded = row->min != 0 || row->max != 0;
    int code = read_number(row->type, text, &v);
    if (code == TC_ESYNTAX) {
        const char *what = row->type == TC_OPT_DURATION ? "a duration such as 500ms, 15s, 2m or 1h"
                           : row->type == TC_OPT_SIZE   ? "a size such as 4096, 64k, 1m or 2g"
                                                        : "a whole number";
        tc_buf_printf(err, "\"%s\" is not %s", text, what);
        return TC_EINVAL;
    }
    if (code == 0 && (!bounded || (v >= row->min && v <= row->max))) {
        *(int64_t *)member = v;
        return 0;
    }
    tc_buf_printf(err, "%s is out of range", text);
    if (bounded) {
        tc_buf_puts(err, ", which is ");
        option_put_number(err, row->type, row->min);
        tc_buf_puts(err, " to ");
        option_put_number(err, row->type, row->max);
    }
    return TC_ERANGE;
}

static int store_bool(bool *member, const char *text, struct tc_buf *err) {
    static const char *const words[] = {"false", "true", "0", "1", "no", "yes", "off", "on"};
    for (size_t i = 0; i < COUNT(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *member = i % 2 == 1;
            return 0;
        }
    }
    tc_buf_printf(err, "\"%s\" is neither true nor false", text);
    return TC_EINVAL;
}

static bool is_choice(const char *choices, const char *text) {
    size_t n = strlen(text);
    for (const char *word = choices; word != NULL;) {
        size_t len = strcspn(word, "|");
        if (len == n && memcmp(word, text, n) == 0)
            return true;
        word = word[len] == '|' ? word + len + 1 : NULL;
    }
    return false;
}

static int store_choice(const struct tc_option *row, const char **member, const char *text, struct tc_buf *err) {
    if (!is_choice(row->choices, text)) {
        tc_buf_printf(err, "\"%s\" is not one of %s", text, row->choices);
        return TC_EINVAL;
    }
    *member = keep(text);
    return 0;
}

static int store_address(const char **member, const char *text, struct tc_buf *err) {
    char host[256];
    int port;
    if (tc_address_split(text, host, sizeof(host), &port) < 0) {
        tc_buf_printf(err, "\"%s\" is not HOST:PORT, [IPV6]:PORT or PORT", text);
        return TC_EINVAL;
    }
    *member = keep(text);
    return 0;
}

int option_store(const struct tc_option *row, void *opts, const char *text, struct tc_buf *err) {
    void *member = (char *)opts + row->offset;
    switch (row->type) {
    case TC_OPT_STRING:
        *(const char **)member = keep(text);
        return 0;
    case TC_OPT_INT:
    case TC_OPT_DURATION:
    case TC_OPT_SIZE:
        return store_number(row, member, text, err);
    case TC_OPT_BOOL:
        return store_bool(member, text, err);
    case TC_OPT_ADDRESS:
        return store_address(member, text, err);
    case TC_OPT_CHOICE:
        return store_choice(row, member, text, err);
    }
    return TC_EINVAL;
}

/* Where the host stands in the address, and where the port's digits begin; NULL if the shape is wrong. */
static const char *split(const char *address, const char **host, size_t *host_len) {
    const char *colon = strrchr(address, ':'), *end;
    *host = address;
    *host_len = 0;
    if (address[0] == '[') {
        end = strchr(address, ']');
        if (end == NULL || end[1] != ':' || end == address + 1)
            return NULL;
        *host = address + 1;
        *host_len = (size_t)(end - *host);
        return end + 2;
    }
    if (colon == NULL)
        return address;
    *host_len = (size_t)(colon - address);
    return memchr(address, ':', *host_len) == NULL ? colon + 1 : NULL;
}

static bool is_host(const char *host, size_t n, bool v6) {
    for (size_t i = 0; i < n; i++) {
        char c = host[i];
        bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
        if (!word && c != '-' && c != '_' && !(v6 && (c == ':' || c == '%')))
            return false;
    }
    return true;
}

int tc_address_split(const char *address, char *host, size_t host_size, int *port) {
    const char *from, *digits;
    size_t n;
    int64_t number;
    digits = split(address, &from, &n);
    if (digits == NULL || !is_host(from, n, address[0] == '[') || n >= host_size || strlen(digits) > 5 ||
        read_digits(&digits, &number) < 0 || *digits != '\0' || number > 65535)
        return TC_EINVAL;
    memcpy(host, from, n);
    host[n] = '\0';
    *port = (int)number;
    return 0;
}
