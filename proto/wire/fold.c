/* What a log says so far; see fold.h. Pure functions over the caller's struct. Each change is checked against the
 * bounds first; an event that is refused half-way leaves a fold that is whole, but of no further use. */
#include "wire/fold.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <stdlib.h>

#define MAX_PIECES 64
#define MAX_TOOLS  256

void tc_fold_init(struct tc_fold *f, size_t max_bytes) {
    *f = (struct tc_fold){.max_bytes = max_bytes};
}

static void tool_fini(struct tc_fold_tool *t) {
    tc_buf_fini(&t->id);
    tc_buf_fini(&t->name);
    tc_buf_fini(&t->arguments);
}

void tc_fold_fini(struct tc_fold *f) {
    for (size_t i = 0; i < f->piece_count; i++)
        tc_buf_fini(&f->pieces[i].text);
    for (size_t i = 0; i < f->tool_count; i++)
        tool_fini(&f->tools[i]);
    free(f->pieces);
    free(f->tools);
    tc_buf_fini(&f->usage);
    tc_buf_fini(&f->error_code);
    tc_buf_fini(&f->error_message);
    *f = (struct tc_fold){0};
}

/* Copies what fits whole characters into a field of fixed size. */
static void copy_cut(char *to, size_t size, struct tc_str s) {
    size_t n = s.n < size ? s.n : size - 1;
    if (n < s.n)
        n = tc_utf8_complete((struct tc_str){s.p, n});
    if (n > 0)
        memcpy(to, s.p, n);
    to[n] = '\0';
}

/* Would `drop` bytes out and `add` bytes in pass the bound? */
static bool fits(const struct tc_fold *f, size_t drop, size_t add) {
    return add <= f->max_bytes && f->bytes - drop <= f->max_bytes - add;
}

/* Replaces what stands in b, within the bound. */
static int replace(struct tc_fold *f, struct tc_buf *b, struct tc_str s) {
    size_t old = b->len;
    if (!fits(f, old, s.n))
        return TC_ETOOLARGE;
    if (tc_buf_reserve(b, s.n) == NULL) {
        b->failed = false;
        return TC_ENOMEM;
    }
    b->len = 0;
    tc_buf_put_str(b, s);
    f->bytes = f->bytes - old + s.n;
    return 0;
}

/* text = text.slice(0, offset) + piece. Appending at the end, the usual case, looks only at the piece. */
static int splice(struct tc_fold *f, struct tc_buf *text, uint64_t *units, uint64_t offset, struct tc_str piece) {
    size_t keep = text->len;
    uint64_t kept_units = *units;
    if (offset < *units) {
        keep = tc_utf16_to_byte(tc_buf_str(text), offset);
        kept_units = tc_utf16_len((struct tc_str){text->data, keep});
    }
    if (!fits(f, text->len - keep, piece.n))
        return TC_ETOOLARGE;
    if (tc_buf_reserve(text, piece.n) == NULL) {
        text->failed = false;
        return TC_ENOMEM;
    }
    f->bytes = f->bytes - (text->len - keep) + piece.n;
    text->len = keep;
    tc_buf_put_str(text, piece);
    *units = kept_units + tc_utf16_len(piece);
    return 0;
}

/* Room for one more element of `size` bytes in a zero-extended array that grows by doubling. */
static int grow(void **array, size_t count, size_t max, size_t size) {
    if (count == max)
        return TC_ETOOLARGE;
    if (count == 0 || (count >= 4 && (count & (count - 1)) == 0)) {
        void *more = realloc(*array, (count ? count * 2 : 4) * size);
        if (more == NULL)
            return TC_ENOMEM;
        *array = more;
    }
    memset((char *)*array + count * size, 0, size);
    return 0;
}

static struct tc_str kind_name(const struct tc_event *ev) {
    return ev->kind == TC_KIND_TEXT        ? TC_STR("text")
           : ev->kind == TC_KIND_REASONING ? TC_STR("reasoning")
                                           : ev->kind_name;
}

static int find_piece(struct tc_fold *f, const struct tc_event *ev, struct tc_fold_piece **out) {
    struct tc_str name = kind_name(ev);
    for (size_t i = 0; i < f->piece_count; i++) {
        struct tc_fold_piece *p = &f->pieces[i];
        if (p->index == ev->index && p->kind == ev->kind &&
            (p->kind != TC_KIND_OTHER || tc_str_is(name, p->kind_name))) {
            *out = p;
            return 0;
        }
    }
    if (name.n >= sizeof(f->pieces[0].kind_name))
        return TC_ETOOLARGE;
    void *array = f->pieces;
    int err = grow(&array, f->piece_count, MAX_PIECES, sizeof(*f->pieces));
    f->pieces = array;
    if (err < 0)
        return err;
    *out = &f->pieces[f->piece_count++];
    (*out)->kind = ev->kind;
    (*out)->index = ev->index;
    copy_cut((*out)->kind_name, sizeof((*out)->kind_name), name);
    return 0;
}

static int find_tool(struct tc_fold *f, uint64_t index, struct tc_fold_tool **out) {
    for (size_t i = 0; i < f->tool_count; i++) {
        if (f->tools[i].index == index) {
            *out = &f->tools[i];
            return 0;
        }
    }
    void *array = f->tools;
    int err = grow(&array, f->tool_count, MAX_TOOLS, sizeof(*f->tools));
    f->tools = array;
    if (err < 0)
        return err;
    *out = &f->tools[f->tool_count++];
    (*out)->index = index;
    return 0;
}

static int apply_delta(struct tc_fold *f, const struct tc_event *ev) {
    struct tc_fold_piece *p;
    int err = find_piece(f, ev, &p);
    return err < 0 ? err : splice(f, &p->text, &p->units, ev->offset, ev->text);
}

static int apply_tool(struct tc_fold *f, const struct tc_event *ev) {
    struct tc_fold_tool *t;
    int err = find_tool(f, ev->index, &t);
    if (err < 0)
        return err;
    if ((ev->id.n > 0 && (err = replace(f, &t->id, ev->id)) < 0) ||
        (ev->name.n > 0 && (err = replace(f, &t->name, ev->name)) < 0) ||
        (err = splice(f, &t->arguments, &t->units, ev->offset, ev->arguments)) < 0)
        return err;
    t->done = ev->done;
    t->invalid = ev->invalid;
    return 0;
}

/* The kept length of (kind, index); what is not listed is not kept. */
static bool kept_length(const struct tc_event *ev, const char *kind, uint64_t index, uint64_t *out) {
    for (size_t i = 0; i < ev->kept_count; i++) {
        if (ev->kept[i].index == index && tc_str_is(ev->kept[i].kind, kind)) {
            *out = ev->kept[i].length;
            return true;
        }
    }
    *out = 0;
    return false;
}

static void cut(struct tc_fold *f, struct tc_buf *text, uint64_t *units, uint64_t length) {
    if (length >= *units)
        return;
    size_t keep = tc_utf16_to_byte(tc_buf_str(text), length);
    f->bytes -= text->len - keep;
    text->len = keep;
    *units = tc_utf16_len(tc_buf_str(text));
}

static void drop_tool(struct tc_fold *f, size_t i) {
    struct tc_fold_tool *t = &f->tools[i];
    f->bytes -= t->id.len + t->name.len + t->arguments.len;
    tool_fini(t);
    memmove(t, t + 1, (--f->tool_count - i) * sizeof(*t));
}

static void cut_tool(struct tc_fold *f, struct tc_fold_tool *t, uint64_t length) {
    if (length >= t->units)
        return;
    cut(f, &t->arguments, &t->units, length);
    t->done = t->invalid = false;
}

/* Any mode but "continue" begins again: nothing is kept. */
static void apply_attempt(struct tc_fold *f, const struct tc_event *ev) {
    bool goes_on = tc_str_is(ev->mode, "continue");
    uint64_t length;
    for (size_t i = 0; i < f->piece_count; i++) {
        struct tc_fold_piece *p = &f->pieces[i];
        kept_length(ev, p->kind_name, p->index, &length);
        cut(f, &p->text, &p->units, goes_on ? length : 0);
    }
    for (size_t i = f->tool_count; i-- > 0;) {
        if (goes_on && kept_length(ev, "tool_call", f->tools[i].index, &length))
            cut_tool(f, &f->tools[i], length);
        else
            drop_tool(f, i);
    }
    f->try_no = ev->try_no > 0 ? ev->try_no : f->try_no + 1;
}

static void apply_start(struct tc_fold *f, const struct tc_event *ev) {
    if (!f->started)
        f->started_at = ev->at;
    f->started = true;
    if (f->try_no == 0)
        f->try_no = 1;
    if (ev->model.n > 0)
        copy_cut(f->model, sizeof(f->model), ev->model);
    copy_cut(f->provider, sizeof(f->provider), ev->provider);
}

static int apply_error(struct tc_fold *f, const struct tc_event *ev) {
    int err = replace(f, &f->error_code, ev->code);
    return err < 0 ? err : replace(f, &f->error_message, ev->message);
}

static int apply_done(struct tc_fold *f, const struct tc_event *ev) {
    int err = replace(f, &f->usage, ev->usage);
    if (err < 0)
        return err;
    f->ended = true;
    f->ended_at = ev->at;
    f->has_ttft = ev->has_ttft;
    f->ttft_ms = ev->ttft_ms;
    f->duration_ms = ev->duration_ms;
    copy_cut(f->reason, sizeof(f->reason), ev->reason);
    return 0;
}

int tc_fold_apply(struct tc_fold *f, struct tc_position at, const struct tc_event *ev) {
    int err = 0;
    switch (ev->type) {
    case TC_EV_FENCE:
        return 0;
    case TC_EV_CREATED:
        f->created_at = ev->at;
        copy_cut(f->model, sizeof(f->model), ev->model);
        copy_cut(f->channel, sizeof(f->channel), ev->channel);
        break;
    case TC_EV_START:
        apply_start(f, ev);
        break;
    case TC_EV_DELTA:
        err = apply_delta(f, ev);
        break;
    case TC_EV_TOOL_CALL:
        err = apply_tool(f, ev);
        break;
    case TC_EV_ATTEMPT:
        apply_attempt(f, ev);
        break;
    case TC_EV_ERROR:
        err = apply_error(f, ev);
        break;
    case TC_EV_DONE:
        err = apply_done(f, ev);
        break;
    case TC_EV_NOTE:
    case TC_EV_UNKNOWN:
        break;
    }
    if (err == 0)
        f->position = at;
    return err;
}

struct tc_str tc_fold_text(const struct tc_fold *f, enum tc_kind kind, uint64_t index) {
    for (size_t i = 0; i < f->piece_count; i++)
        if (f->pieces[i].kind == kind && f->pieces[i].index == index)
            return tc_buf_str(&f->pieces[i].text);
    return TC_STR("");
}

const char *tc_fold_state(const struct tc_fold *f) {
    if (f->ended)
        return strcmp(f->reason, "cancelled") == 0 ? "cancelled" : strcmp(f->reason, "error") == 0 ? "failed" : "done";
    return f->started || f->try_no > 0 || f->piece_count > 0 || f->tool_count > 0 ? "running" : "queued";
}
