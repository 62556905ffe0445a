/* See past.h. A reader's text and this one must be the same: both apply the same events by the same rule, and what a
 * reader skips (bytes that are no event) is skipped here. But a reader may live with a hole; going on behind one would
 * make the model's words another's. */
#include "run/past.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <string.h>

void past_init(struct past *p, size_t max_bytes) {
    *p = (struct past){0};
    tc_fold_init(&p->fold, max_bytes);
}

void past_fini(struct past *p) {
    tc_fold_fini(&p->fold);
    *p = (struct past){0};
}

static void find_flaw(struct past *p, const char *flaw) {
    if (!p->flaw)
        p->flaw = flaw;
}

static uint64_t units_of(const struct past *p, const struct tc_event *ev) {
    for (size_t i = 0; i < p->fold.piece_count; i++) {
        const struct tc_fold_piece *piece = &p->fold.pieces[i];
        if (piece->kind == ev->kind && piece->index == ev->index &&
            (ev->kind != TC_KIND_OTHER || tc_str_is(ev->kind_name, piece->kind_name)))
            return piece->units;
    }
    return 0;
}

static void apply(struct past *p, struct tc_position at, const struct tc_event *ev) {
    if (ev->type == TC_EV_DELTA && ev->offset > units_of(p, ev))
        find_flaw(p, "a piece of the text is missing");
    if (p->fold.ended)
        find_flaw(p, "something follows its end");
    p->error_is_end = ev->type == TC_EV_ERROR && !ev->recoverable;
    int rc = tc_fold_apply(&p->fold, at, ev);
    if (rc == TC_ETOOLARGE)
        find_flaw(p, "it is larger than this worker's limit");
    else if (rc < 0)
        find_flaw(p, "out of memory");
}

void past_take(struct past *p, const struct tc_reply_entry *entry) {
    struct tc_event ev;
    if (entry->position.seq == 0)
        return;
    if (entry->position.seq != p->seq + 1)
        find_flaw(p, p->seq == 0 ? "its start was trimmed" : "entries are missing");
    p->seq = entry->position.seq;
    p->error_is_end = false;
    /* A flaw is for good: what follows it is not worth the memory. */
    if (!p->flaw && entry->has_e && tc_event_decode(entry->e.p, entry->e.n, &ev) == 0)
        apply(p, entry->position, &ev);
}

void past_end(struct past *p, struct tc_position last) {
    if (p->seq != last.seq)
        find_flaw(p, "entries are missing");
}

static bool has_whole_tool(const struct tc_fold *f) {
    for (size_t i = 0; i < f->tool_count; i++)
        if (f->tools[i].done)
            return true;
    return false;
}

/* One answer of kinds that this version knows. */
static bool is_plain(const struct tc_fold *f) {
    for (size_t i = 0; i < f->piece_count; i++)
        if (f->pieces[i].units > 0 && (f->pieces[i].index > 0 || f->pieces[i].kind == TC_KIND_OTHER))
            return false;
    return true;
}

static void keep(struct past_keeps *out, const char *kind, uint64_t units) {
    if (units > 0)
        out->kept[out->kept_count++] = (struct tc_kept){.kind = tc_str_from(kind), .length = units};
}

bool past_keep(const struct past *p, struct provider *provider, const json_t *request, struct past_keeps *out,
               const char **why) {
    struct tc_str said = tc_fold_text(&p->fold, TC_KIND_TEXT, 0);
    struct tc_str thought = tc_fold_text(&p->fold, TC_KIND_REASONING, 0);
    *out = (struct past_keeps){0};
    if (p->flaw)
        *why = p->flaw;
    else if (has_whole_tool(&p->fold))
        *why = "a tool was called";
    else if (!is_plain(&p->fold))
        *why = "there is more than one answer";
    else if (said.n == 0)
        *why = "no text was said";
    else
        *why = NULL;
    if (*why)
        return false;
    size_t n = provider_keeps(provider, request, said, thought.n > 0);
    if (n == 0) {
        *why = "the provider begins anew";
        return false;
    }
    out->text = (struct tc_str){said.p, n};
    keep(out, "text", tc_utf16_len(out->text));
    keep(out, "reasoning", tc_utf16_len(thought));
    return true;
}
