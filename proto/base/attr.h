/* Compiler attributes, spelled once. */
#ifndef TC_BASE_ATTR_H
#define TC_BASE_ATTR_H

#define TC_MUST_USE                        __attribute__((warn_unused_result))
#define TC_UNUSED                          __attribute__((unused)) /* what only assert() calls */
#define TC_PRINTF(fmt, args)               __attribute__((format(printf, fmt, args)))
#define TC_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#endif
