/* What earlier attempts at a generation said, from the entries of its log, and what of it a new attempt can go on
 * from. Takes entries in log order and trusts none of them: where the text cannot be known for certain, nothing is
 * kept. Pure; caller's memory. */
#ifndef WORKER_RUN_PAST_H
#define WORKER_RUN_PAST_H

#include "base/attr.h"
#include "provider/provider.h"
#include "redis/reply.h"
#include "wire/fold.h"

#define PAST_KEPT_MAX 2 /* text and reasoning of the one answer */

struct past {
    struct tc_fold fold;
    uint64_t seq;      /* of the last event */
    const char *flaw;  /* static; why the text cannot be known; NULL = it is known so far */
    bool error_is_end; /* the last event is an error after which only `done` may come */
};

/* What is gone on from; `text` lies in the past. */
struct past_keeps {
    struct tc_str text; /* the provider's prefix */
    struct tc_kept kept[PAST_KEPT_MAX];
    size_t kept_count;
};

void past_init(struct past *p, size_t max_bytes);
void past_fini(struct past *p); /* accepts zeroed memory */

/* The next entry; fences are entries too. */
void past_take(struct past *p, const struct tc_reply_entry *entry);

/* Every entry up to event `last` was taken. */
void past_end(struct past *p, struct tc_position last);

/* false, with the reason in *why (static): the answer begins anew. A tool call that is not whole is not kept, and said
 * again by the provider; behind a whole one no provider goes on. */
TC_MUST_USE bool past_keep(const struct past *p, struct provider *provider, const json_t *request,
                           struct past_keeps *out, const char **why);

#endif
