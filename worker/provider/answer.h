/* One answer as a dialect's parser understands it: passes pieces on to the sink, keeps the books on tool calls, and
 * remembers how the answer ended. Parsers write it, the call (upstream_call.c) reads it; neither network nor clock. */
#ifndef WORKER_PROVIDER_ANSWER_H
#define WORKER_PROVIDER_ANSWER_H

#include "base/buf.h"
#include "provider/provider.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_TOOLS_MAX   128         /* tool calls of one answer */
#define ANSWER_TOOL_ID_MAX 256         /* bytes of a tool call's id, and of its name */
#define ANSWER_EARLY_MAX   (64 * 1024) /* bytes of arguments that came before their name */
#define ANSWER_CHOICES_MAX 128         /* parallel answers (OpenAI's n) */
#define ANSWER_USAGE_MAX   (16 * 1024) /* bytes of a usage object as JSON */
#define ANSWER_MESSAGE_MAX 512         /* bytes of an error message with its NUL */

struct answer_tool {
    uint32_t choice;     /* parallel answer it belongs to */
    int64_t key;         /* the provider's number for it; -1 = it gave none */
    char *id;            /* owned; "" while unknown */
    bool named;          /* told to the sink: id and name are known */
    bool any, closed;    /* arguments were told; done was told */
    struct tc_buf early; /* arguments that came before the name */
};

struct answer {
    const struct provider_sink *sink; /* borrowed */
    void *arg;
    const char *gen; /* names tool calls that came without an id; borrowed */
    bool muted;      /* the call is gone: tell the sink nothing any more */
    bool begun;      /* on_begin was made; survives answer_reset */
    bool spoke;      /* a piece of output was told: no retry from here on */
    bool alive;      /* something but a heartbeat came; the reader clears it */
    bool ended;      /* the end marker came: nothing follows */

    uint32_t choices; /* parallel answers asked for, at least 1 */
    bool finish_seen[ANSWER_CHOICES_MAX];
    uint32_t finish_count;
    const char *reason; /* of choice 0, or of the first to finish; static; NULL = none yet */

    json_t *usage; /* owned, normalised; NULL = none */

    bool failed;      /* the upstream told an error, or broke the format */
    const char *code; /* static */
    char message[ANSWER_MESSAGE_MAX];
    bool recoverable;
    bool retry; /* worth a retry if nothing was said so far */

    struct answer_tool *tools; /* owned */
    size_t tool_count;
};

void answer_init(struct answer *a, const struct provider_sink *sink, void *arg, const char *gen, uint32_t choices);
void answer_fini(struct answer *a);  /* accepts zeroed memory */
void answer_reset(struct answer *a); /* for another try */

static inline bool answer_finished(const struct answer *a) {
    return a->finish_count >= a->choices;
}

/* model may be empty. Only the first call counts. */
void answer_begin(struct answer *a, struct tc_str model);
void answer_text(struct answer *a, enum tc_kind kind, uint32_t index, struct tc_str text); /* empty text is dropped */
void answer_note(struct answer *a, const char *kind, struct tc_str text, json_t *data);

/* A piece of a tool call. `key` is the provider's number for it within `choice`, -1 if it gives none: then the id, or
 * the last tool call, decides. Tool calls are numbered for the sink in the order in which they appear. */
void answer_tool(struct answer *a, uint32_t choice, int64_t key, struct tc_str id, struct tc_str name,
                 struct tc_str arguments);
void answer_tool_close(struct answer *a, uint32_t choice, int64_t key);

/* A finish reason in any provider's words; "error" and its kin are failures. The last one closes the tool calls. */
void answer_finish(struct answer *a, uint32_t choice, struct tc_str reason);

/* Merges a usage object (OpenAI's or Anthropic's names) into what is known. */
void answer_usage(struct answer *a, const json_t *usage);

/* code static; message is cut to what fits. The first failure counts. */
void answer_fail(struct answer *a, const char *code, struct tc_str message, bool recoverable, bool retry);
/* The upstream broke the format. */
void answer_broken(struct answer *a, const char *message);

#endif
