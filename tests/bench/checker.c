/* Lines to events to a verdict. A line whole inside one read is judged in place; only a cut one is copied. One thread.
 *
 * Positions must be contiguous from 1. A jump is allowed over what a gap told, and, where merging is expected, over
 * pieces that one larger delta stands for: then its offset must be where the text ended, it must hold at least one
 * character a piece, and be of the same attempt as the event before, so that nothing lost can pass as merged. */
#include "checker.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LINE (1U << 20)

static const char *const fault_names[CHECKER_FAULT_COUNT] = {
#define X(name, text) #name,
    CHECKER_FAULTS(X)
#undef X
};

static const char *const fault_texts[CHECKER_FAULT_COUNT] = {
#define X(name, text) text,
    CHECKER_FAULTS(X)
#undef X
};

const char *checker_fault_name(enum checker_fault fault) {
    return fault_names[fault];
}

const char *checker_fault_text(enum checker_fault fault) {
    return fault_texts[fault];
}

void checker_init(struct checker *c, struct checker_tally *tally) {
    *c = (struct checker){.tally = tally, .text_known = true};
}

void checker_fini(struct checker *c) {
    body_fini(&c->body);
    free(c->carry);
    c->carry = NULL;
    c->carry_len = c->carry_cap = 0;
}

void checker_resume(struct checker *c) {
    body_fini(&c->body);
    c->body = (struct body){0};
    c->carry_len = 0;
    c->type = CHECKER_OTHER;
    c->has_data = c->has_id = false;
}

void checker_begin_after(struct checker *c, struct facts_position position) {
    c->last = position;
    c->text_known = false;
}

void checker_fail(struct checker *c, enum checker_fault fault) {
    if (c->fault == CHECKER_none)
        c->fault = fault;
}

static void on_gap(struct checker *c) {
    const struct facts *f = &c->facts;
    c->tally->gaps++;
    c->text_known = false;
    if (f->lost) { /* a failover lost this branch: the log comes again from its start */
        c->last = (struct facts_position){0, 0};
        return;
    }
    if (!f->has_range || f->from.seq != c->last.seq + 1 || f->to.seq < f->from.seq) {
        checker_fail(c, CHECKER_gap);
        return;
    }
    c->tally->dropped += f->to.seq - f->from.seq + 1;
    c->last = f->to;
}

static void on_control(struct checker *c) {
    if (c->type == CHECKER_GAP)
        on_gap(c);
    else if (c->type == CHECKER_TROUBLE || c->type == CHECKER_DONE)
        checker_fail(c, CHECKER_error);
    else if (c->type == CHECKER_DELTA)
        checker_fail(c, CHECKER_syntax);
}

/* `skipped` positions lie between the last event and this delta. */
static void on_delta(struct checker *c, uint64_t skipped) {
    const struct facts *f = &c->facts;
    c->tally->deltas++;
    if (c->tally->latency != NULL && f->at != 0)
        histogram_add(c->tally->latency, c->tally->now_us > f->at ? c->tally->now_us - f->at : 0);
    if (!f->has_offset || !f->has_text) {
        checker_fail(c, CHECKER_syntax);
    } else if (!f->answer_text) {
        if (skipped > 0)
            checker_fail(c, CHECKER_lost);
    } else {
        bool unbroken = !c->text_known || f->offset == c->text_len;
        if (skipped > 0 && !(c->tally->merged_ok && unbroken && f->units > skipped))
            checker_fail(c, CHECKER_lost);
        else if (!unbroken)
            checker_fail(c, CHECKER_offset);
        c->tally->merged += skipped;
        c->text_len = f->offset + f->units;
        c->text_known = true;
    }
}

static void on_done(struct checker *c) {
    c->done = true;
    if (c->text_known && c->facts.has_text_length && c->facts.text_length != c->text_len)
        checker_fail(c, CHECKER_length);
}

static void on_event(struct checker *c) {
    uint64_t skipped = c->id.seq - c->last.seq - 1;
    bool same_attempt = c->id.attempt == c->last.attempt;
    c->tally->events++;
    if (c->id.seq <= c->last.seq || c->id.attempt < c->last.attempt) {
        checker_fail(c, CHECKER_doubled);
        return;
    }
    c->last = c->id;
    if (c->type == CHECKER_DELTA && (same_attempt || skipped == 0)) {
        on_delta(c, skipped);
        return;
    }
    if (skipped > 0)
        checker_fail(c, CHECKER_lost);
    else if (c->type == CHECKER_DONE)
        on_done(c);
    else if (c->type != CHECKER_OTHER)
        checker_fail(c, c->type == CHECKER_ATTEMPT ? CHECKER_attempt : CHECKER_error);
}

static void dispatch(struct checker *c) {
    if (c->fault == CHECKER_none && c->has_data) {
        if (c->done)
            checker_fail(c, CHECKER_after_done);
        else if (c->has_id && c->type != CHECKER_GAP) /* a lost branch takes the position with it */
            on_event(c);
        else
            on_control(c);
    } else if (c->has_id || c->type != CHECKER_OTHER) { /* a position without data moves nobody anywhere */
        checker_fail(c, CHECKER_syntax);
    }
    c->type = CHECKER_OTHER;
    c->has_data = c->has_id = false;
}

static enum checker_type type_of(const char *p, size_t n) {
    static const struct {
        const char *name;
        enum checker_type type;
    } types[] = {{"delta", CHECKER_DELTA},     {"gap", CHECKER_GAP},       {"done", CHECKER_DONE},
                 {"attempt", CHECKER_ATTEMPT}, {"error", CHECKER_TROUBLE}, {"bye", CHECKER_TROUBLE}};
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (strlen(types[i].name) == n && memcmp(types[i].name, p, n) == 0)
            return types[i].type;
    }
    return CHECKER_OTHER;
}

static void on_data_line(struct checker *c, const char *p, size_t n) {
    if (c->has_data || c->has_id) /* one data line an event, and the id after it (docs/rationale.md) */
        checker_fail(c, CHECKER_syntax);
    c->has_data = true;
    if (c->tally->foreign)
        c->has_id = facts_id(p, n, &c->id);
    if (c->type == CHECKER_DELTA)
        facts_of_delta(&c->facts, p, n);
    else if (c->type == CHECKER_GAP)
        facts_of_gap(&c->facts, p, n);
    else if (c->type == CHECKER_DONE)
        facts_of_done(&c->facts, p, n);
}

static bool starts(const char *p, size_t n, const char *prefix, size_t prefix_len) {
    return n >= prefix_len && memcmp(p, prefix, prefix_len) == 0;
}

static void on_line(struct checker *c, const char *p, size_t n) {
    if (n == 0) {
        dispatch(c);
    } else if (starts(p, n, "data: ", 6)) {
        on_data_line(c, p + 6, n - 6);
    } else if (starts(p, n, "event: ", 7)) {
        c->type = type_of(p + 7, n - 7);
    } else if (starts(p, n, "id: ", 4)) {
        if (c->tally->foreign)
            return;
        c->has_id = true;
        if (!facts_parse_position(p + 4, n - 4, &c->id))
            checker_fail(c, CHECKER_syntax);
    } else if (*p != ':' && !starts(p, n, "retry: ", 7)) {
        checker_fail(c, CHECKER_syntax);
    }
}

static bool carry(struct checker *c, const char *p, size_t n) {
    size_t want = c->carry_len + n;
    if (want > MAX_LINE)
        return false;
    if (want > c->carry_cap) {
        size_t cap = want < 512 ? 512 : want * 2;
        char *grown = realloc(c->carry, cap);
        if (grown == NULL)
            return false;
        c->carry = grown;
        c->carry_cap = cap;
    }
    memcpy(c->carry + c->carry_len, p, n);
    c->carry_len = want;
    return true;
}

static void on_body(void *arg, const char *p, size_t n) {
    struct checker *c = arg;
    while (n > 0) {
        const char *lf = memchr(p, '\n', n);
        size_t run = lf == NULL ? n : (size_t)(lf - p);
        if ((lf == NULL || c->carry_len > 0) && !carry(c, p, run)) {
            checker_fail(c, CHECKER_syntax);
            c->carry_len = 0;
        }
        if (lf == NULL)
            return;
        if (c->carry_len > 0)
            on_line(c, c->carry, c->carry_len);
        else
            on_line(c, p, run);
        c->carry_len = 0;
        p += run + 1;
        n -= run + 1;
    }
}

void checker_feed(struct checker *c, const char *p, size_t n) {
    c->tally->bytes += n;
    if (c->fault != CHECKER_none) /* read on, so that the server's load stays the same, but judge no more */
        return;
    body_feed(&c->body, p, n, on_body, c);
    if (c->body.status != 0 && c->body.status != 200)
        checker_fail(c, CHECKER_status);
    if (c->body.state == BODY_BAD)
        checker_fail(c, CHECKER_framing);
}

void checker_end(struct checker *c) {
    if (!c->done)
        checker_fail(c, CHECKER_unended);
    else if (!body_whole(&c->body) || c->carry_len > 0 || c->has_data)
        checker_fail(c, CHECKER_unclean);
}
