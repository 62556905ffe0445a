/* One option's value: from text, checked, into its field. Main thread, at startup. */
#ifndef TC_BASE_OPTION_VALUE_H
#define TC_BASE_OPTION_VALUE_H

#include "base/option.h"

/* Stores the text's value in the row's field of opts. On error: what is wrong with it, to follow "--name: ". */
TC_MUST_USE int option_store(const struct tc_option *row, void *opts, const char *text, struct tc_buf *err);

/* A number in the row's unit as a person would write it: 15s, 64k. */
void option_put_number(struct tc_buf *out, enum tc_option_type type, int64_t v);

#endif
