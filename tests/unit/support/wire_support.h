/* What the tests of proto/base and proto/wire share. */
#ifndef TC_TEST_WIRE_SUPPORT_H
#define TC_TEST_WIRE_SUPPORT_H

#include "base/buf.h"
#include "base/str.h"

/* cmocka's header wants these in front of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The buffer holds exactly this text. */
#define assert_buf(b, text) wire_assert_str(tc_buf_str(b), tc_str_from(text), __FILE__, __LINE__)
#define assert_str(s, text) wire_assert_str((s), tc_str_from(text), __FILE__, __LINE__)
void wire_assert_str(struct tc_str got, struct tc_str want, const char *file, int line);

/* "83 a1 61" -> bytes, appended. */
void wire_hex(struct tc_buf *out, const char *hex);

/* No beginning of an encoded event is one. Each has its own memory, so that a sanitizer sees a look behind it. */
void wire_assert_cut_is_refused(const struct tc_buf *event);

#endif
