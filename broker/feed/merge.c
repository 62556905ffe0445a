/* Joining deltas, and pacing them. See merge.h. */
#include "feed/merge.h"

#include "base/utf8.h"
#include "tokencast/error.h"

#include <string.h>

void merge_init(struct merge *m, enum pace pace, size_t max_bytes, merge_emit emit, void *arg) {
    *m = (struct merge){.emit = emit, .arg = arg, .pace = pace, .max_bytes = max_bytes};
    tc_buf_init(&m->text, 0);
    tc_buf_init(&m->scratch, 0);
}

void merge_fini(struct merge *m) {
    tc_buf_fini(&m->text);
    tc_buf_fini(&m->scratch);
}

void merge_reset(struct merge *m, struct tc_position at) {
    m->holding = false;
    m->before = m->last = at;
    tc_buf_reset(&m->text);
}

static bool can_join(const struct tc_event *ev) {
    if (ev->type == TC_EV_DELTA)
        return ev->kind_name.n < sizeof((struct merge *)0)->kind_name;
    return ev->type == TC_EV_TOOL_CALL && !ev->done && ev->id.n == 0 && ev->name.n == 0;
}

static bool continues(const struct merge *m, struct tc_position pos, const struct tc_event *ev) {
    const struct tc_event *h = &m->held;
    if (pos.attempt != m->last.attempt || ev->type != h->type || ev->index != h->index)
        return false;
    if (ev->kind != h->kind || !tc_str_eq(ev->kind_name, h->kind_name))
        return false;
    return ev->offset == h->offset + m->units;
}

static struct tc_str piece_of(const struct tc_event *ev) {
    return ev->type == TC_EV_DELTA ? ev->text : ev->arguments;
}

static bool is_space(char c) {
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_boundary(enum pace pace, const char *text, size_t i) {
    char c = text[i];
    if (c == '\n')
        return true;
    if (pace == PACE_LINE || !is_space(c))
        return false;
    return pace == PACE_WORD || (i > 0 && strchr(".!?", text[i - 1]) != NULL);
}

/* Adds a piece to what is held and moves the cut to the last boundary in it, if it has one. Text before the piece
 * needs no second look: it was searched when it came. */
static void add_piece(struct merge *m, struct tc_position pos, struct tc_str piece) {
    size_t from = m->text.len;
    tc_buf_put_str(&m->text, piece);
    m->units += tc_utf16_len(piece);
    m->before = m->last;
    m->last = pos;
    if (m->pace == PACE_TOKEN || !tc_buf_ok(&m->text))
        return;
    for (size_t i = m->text.len; i > from; i--) {
        if (is_boundary(m->pace, m->text.data, i - 1)) {
            m->cut = i;
            m->cut_pos = i == m->text.len ? m->last : m->before;
            return;
        }
    }
}

static void hold(struct merge *m, struct tc_position pos, const struct tc_event *ev) {
    m->held = (struct tc_event){.type = ev->type,
                                .type_name = tc_str_from(tc_event_type_name(ev->type)),
                                .at = ev->at,
                                .offset = ev->offset,
                                .kind = ev->kind,
                                .index = ev->index};
    if (ev->kind_name.n > 0) {
        memcpy(m->kind_name, ev->kind_name.p, ev->kind_name.n);
        m->held.kind_name = (struct tc_str){m->kind_name, ev->kind_name.n};
    }
    tc_buf_reset(&m->text);
    m->units = 0;
    m->cut = 0;
    m->holding = true;
    add_piece(m, pos, piece_of(ev));
}

static int emit_held(struct merge *m, size_t bytes, struct tc_position pos) {
    struct tc_str text = {m->text.data, bytes};
    if (m->held.type == TC_EV_DELTA)
        m->held.text = text;
    else
        m->held.arguments = text;
    tc_buf_reset(&m->scratch);
    tc_event_encode(&m->scratch, &m->held);
    if (!tc_buf_ok(&m->scratch) || !tc_buf_ok(&m->text))
        return TC_ENOMEM;
    return m->emit(m->arg, pos, &m->held, tc_buf_str(&m->scratch));
}

static int release_all(struct merge *m) {
    if (!m->holding)
        return 0;
    m->holding = false;
    return emit_held(m, m->text.len, m->last);
}

/* Gives out what lies before the cut. Where the cut is inside a piece the position is that of the piece before it: a
 * resume from there repeats some text under its offset. */
static int release_cut(struct merge *m) {
    if (m->cut == m->text.len)
        return release_all(m);
    size_t bytes = m->cut;
    uint64_t units = tc_utf16_len((struct tc_str){m->text.data, bytes});
    int err = emit_held(m, bytes, m->cut_pos);
    m->held.offset += units;
    m->units -= units;
    m->cut = 0;
    tc_buf_consume(&m->text, bytes);
    return err;
}

int merge_flush(struct merge *m) {
    if (!m->holding)
        return 0;
    if (m->pace == PACE_TOKEN || m->held.type != TC_EV_DELTA || m->text.len >= m->max_bytes)
        return release_all(m);
    return m->cut > 0 ? release_cut(m) : 0;
}

int merge_push(struct merge *m, struct tc_position pos, const struct tc_event *ev, struct tc_str raw) {
    bool joins = m->holding && can_join(ev) && continues(m, pos, ev) && m->text.len + piece_of(ev).n <= m->max_bytes;
    if (joins) {
        add_piece(m, pos, piece_of(ev));
        return tc_buf_ok(&m->text) ? 0 : TC_ENOMEM;
    }
    int err = release_all(m);
    if (err != 0)
        return err;
    if (can_join(ev)) {
        hold(m, pos, ev);
        return tc_buf_ok(&m->text) ? 0 : TC_ENOMEM;
    }
    m->last = m->before = pos;
    return m->emit(m->arg, pos, ev, raw);
}
