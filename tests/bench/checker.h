/* Judges one client's stream: every event once and in order, or told by `gap`; the text unbroken; one `done`; a body
 * that ends as HTTP says. The first fault sticks. One thread; the tally is shared by all clients. */
#ifndef BENCH_CHECKER_H
#define BENCH_CHECKER_H

#include "body.h"
#include "facts.h"
#include "histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* name, what it says of the stream */
#define CHECKER_FAULTS(X)                                                                                              \
    X(none, "whole")                                                                                                   \
    X(connect, "the connection could not be made")                                                                     \
    X(status, "not answered with 200")                                                                                 \
    X(framing, "broken HTTP framing")                                                                                  \
    X(syntax, "not server-sent events as the protocol has them")                                                       \
    X(lost, "an event is missing and no gap tells of it")                                                              \
    X(doubled, "an event came twice, or late")                                                                         \
    X(attempt, "another worker took over")                                                                             \
    X(offset, "a delta does not begin where the text ended")                                                           \
    X(gap, "a gap that does not begin after the last event, or ends before it begins")                                 \
    X(length, "done counts another length of text than came")                                                          \
    X(error, "the stream told of an error, or of a drain")                                                             \
    X(after_done, "an event after done")                                                                               \
    X(unended, "the connection ended without done")                                                                    \
    X(unclean, "done came, but the body was not ended")                                                                \
    X(late, "not ended when the time was up")

enum checker_fault {
#define X(name, text) CHECKER_##name,
    CHECKER_FAULTS(X)
#undef X
        CHECKER_FAULT_COUNT
};

struct checker_tally {         /* over all clients; zeroed = empty */
    bool merged_ok;            /* a delta may stand for several positions if the text is unbroken */
    bool foreign;              /* a server whose id: lines are its own: positions are "id" in the data */
    struct histogram *latency; /* from a delta's `at` to its arrival; NULL = not now */
    uint64_t now_us;           /* Unix time of the bytes being fed */
    uint64_t events;           /* with a position */
    uint64_t deltas;
    uint64_t merged;        /* positions that came inside a larger delta */
    uint64_t gaps, dropped; /* gap events, and positions they told of */
    uint64_t bytes;
};

enum checker_type { CHECKER_OTHER = 0, CHECKER_DELTA, CHECKER_GAP, CHECKER_DONE, CHECKER_ATTEMPT, CHECKER_TROUBLE };

struct checker {
    struct checker_tally *tally; /* borrowed */
    struct body body;
    enum checker_fault fault;
    struct facts_position last; /* seq 0 = nothing yet */
    uint64_t text_len;          /* of the answer so far, UTF-16 code units */
    bool text_known;            /* false after a gap, until the next delta */
    bool done;
    char *carry; /* owned; a line that is cut by the end of a read */
    size_t carry_len, carry_cap;
    /* the event being read */
    enum checker_type type;
    bool has_data, has_id;
    struct facts_position id;
    struct facts facts;
};

void checker_init(struct checker *c, struct checker_tally *tally);
void checker_fini(struct checker *c);
void checker_feed(struct checker *c, const char *p, size_t n);

/* The connection was lost before the end, and another goes on after the last position: what was half read is void. */
void checker_resume(struct checker *c);
/* The first connection already asks for what follows `position`, whose text nobody knows. */
void checker_begin_after(struct checker *c, struct facts_position position);

/* The connection is over (or never was): what follows from that, if no fault was found before. */
void checker_end(struct checker *c);
void checker_fail(struct checker *c, enum checker_fault fault);

const char *checker_fault_name(enum checker_fault fault);
const char *checker_fault_text(enum checker_fault fault);

#endif
