/* A provider sink that writes down what it is told, one JSON object a line with sorted keys. Test helper. */
#ifndef TESTS_SUPPORT_UPSTREAM_RECORD_H
#define TESTS_SUPPORT_UPSTREAM_RECORD_H

#include "base/buf.h"
#include "tokencast/event.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct upstream_record {
    struct tc_buf lines;           /* one call a line */
    struct tc_buf text, reasoning; /* joined, of index 0 */
    unsigned begins, waits, texts, tools, ends;
    char wait_why[256]; /* of the last on_wait */
    uint64_t wait_ms;
    char reason[32], code[32], message[600]; /* of on_end */
    bool recoverable;
    uint64_t retry_after_ms;
    json_t *usage;
    void (*hook)(void *arg); /* called at the end of each call to the sink; NULL = none */
    void *hook_arg;
};

void upstream_record_init(struct upstream_record *r);
void upstream_record_fini(struct upstream_record *r);

/* The functions of a struct provider_sink with a struct upstream_record for arg. */
void upstream_record_begin(void *arg, const char *model);
void upstream_record_wait(void *arg, const char *why, uint64_t delay_ms, int retry);
void upstream_record_text(void *arg, enum tc_kind kind, uint32_t index, struct tc_str text);
void upstream_record_tool(void *arg, uint32_t index, struct tc_str id, struct tc_str name, struct tc_str arguments,
                          bool done);
void upstream_record_note(void *arg, const char *kind, struct tc_str text, json_t *data);
void upstream_record_end(struct upstream_record *r, const char *reason, const char *code, const char *message,
                         bool recoverable, uint64_t retry_after_ms, json_t *usage);

#endif
