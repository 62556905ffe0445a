/* The words of a command from a format. Pure. */
#ifndef TC_REDIS_WORDS_H
#define TC_REDIS_WORDS_H

#include "base/attr.h"

#include <stdarg.h>
#include <stddef.h>

#define TC_WORDS_MAX  32
#define TC_WORDS_ROOM 256 /* bytes of numbers and of words that are put together, such as "(%s", in one command */

struct tc_words {
    int argc;
    const char *argv[TC_WORDS_MAX]; /* into the format, the arguments or the room: must not be moved */
    size_t len[TC_WORDS_MAX];
    char room[TC_WORDS_ROOM];
    size_t used;
};

/* %s, %b (pointer, size_t), %d, %u, %lld, %llu; what they stand for may be empty and have spaces in it. Nothing is
 * copied of a word that is one of the first two alone. 0, or TC_EINVAL: something else behind a '%', no word, or more
 * than there is place for. */
TC_MUST_USE int tc_words(struct tc_words *w, const char *format, va_list ap);

#endif
