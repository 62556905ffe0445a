/* Cutting text into what a model would have said in one go: a word with the white space before it. Pure. */
#ifndef WORKER_PROVIDER_PIECES_H
#define WORKER_PROVIDER_PIECES_H

#include "base/str.h"

#include <stddef.h>
#include <stdint.h>

#define PIECE_MAX 48 /* bytes; words without an end are cut, never inside a character */

/* Bytes of the first piece of valid UTF-8; at least 1 unless text is empty. */
size_t piece_len(struct tc_str text);
uint64_t piece_count(struct tc_str text);

#endif
