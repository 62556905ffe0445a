/* See words.h. hiredis's formatter appends a character at a time: some 10,000 instructions a command, which was half of
 * what it costs a worker to open a generation. */
#include "redis/words.h"

#include "base/digits.h"
#include "base/str.h"
#include "tokencast/error.h"

#include <stdbool.h>
#include <string.h>

struct part {
    struct tc_str text;
    bool is_number;
    char number[1 + TC_DIGITS_MAX]; /* a sign, digits: what the text of a number points to */
};

static void read_number(struct part *part, bool negative, uint64_t magnitude) {
    part->is_number = true;
    part->number[0] = '-';
    part->text.p = part->number + !negative;
    part->text.n = negative + tc_digits(part->number + 1, magnitude);
}

static void read_signed(struct part *part, long long v) {
    read_number(part, v < 0, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

/* What stands behind a '%'. Returns where it ends; NULL: it is unknown. */
static const char *convert(const char *at, va_list *ap, struct part *part) {
    bool longer = at[0] == 'l' && at[1] == 'l';
    if (longer)
        at += 2;
    if (*at == 'd') {
        read_signed(part, longer ? va_arg(*ap, long long) : va_arg(*ap, int));
    } else if (*at == 'u') {
        read_number(part, false, longer ? va_arg(*ap, unsigned long long) : va_arg(*ap, unsigned));
    } else if (*at == 's' && !longer) {
        part->text = tc_str_from(va_arg(*ap, const char *));
    } else if (*at == 'b' && !longer) {
        part->text.p = va_arg(*ap, const char *);
        part->text.n = va_arg(*ap, size_t);
    } else {
        return NULL;
    }
    return at + 1;
}

/* The next part of a word: a conversion, or letters. Returns where it ends; NULL: an unknown conversion. */
static const char *read_part(const char *at, va_list *ap, struct part *part) {
    part->is_number = false;
    if (*at == '%')
        return convert(at + 1, ap, part);
    part->text = (struct tc_str){at, strcspn(at, " %")};
    return at + part->text.n;
}

static bool is_over(const char *at) {
    return *at == ' ' || *at == '\0';
}

static bool put(struct tc_words *w, struct tc_str text) {
    if (text.n > sizeof w->room - w->used)
        return false;
    if (text.n > 0)
        memcpy(w->room + w->used, text.p, text.n);
    w->used += text.n;
    return true;
}

static void add(struct tc_words *w, const char *p, size_t n) {
    w->argv[w->argc] = n > 0 ? p : "";
    w->len[w->argc++] = n;
}

/* Returns where the word ends; NULL: see tc_words(). */
static const char *read_word(struct tc_words *w, const char *at, va_list *ap) {
    struct part part;
    size_t begin = w->used;
    at = read_part(at, ap, &part);
    if (at != NULL && is_over(at) && !part.is_number) {
        add(w, part.text.p, part.text.n);
        return at;
    }
    while (at != NULL && put(w, part.text)) {
        if (is_over(at)) {
            add(w, w->room + begin, w->used - begin);
            return at;
        }
        at = read_part(at, ap, &part);
    }
    return NULL;
}

int tc_words(struct tc_words *w, const char *format, va_list ap) {
    va_list rest; /* an argument of that type may be an array, of which nobody can take the address */
    const char *at = format;
    va_copy(rest, ap);
    w->argc = 0;
    w->used = 0;
    while (at != NULL && *(at += strspn(at, " ")) != '\0')
        at = w->argc < TC_WORDS_MAX ? read_word(w, at, &rest) : NULL;
    va_end(rest);
    return at != NULL && w->argc > 0 ? 0 : TC_EINVAL;
}
