/* The bytes of one stream as the broker would send them, made event by event: response head, chunk framing, `created`,
 * `start`, deltas, `done`. A tape can be made wrong in one place, to check the checker. One thread. */
#ifndef BENCH_TAPE_H
#define BENCH_TAPE_H

#include <stddef.h>
#include <stdint.h>

/* name, what is wrong with the tape; all but the first three must be noticed */
#define TAPE_FAULTS(X)                                                                                                 \
    X(none, "nothing")                                                                                                 \
    X(gap, "nothing: three deltas are left out, and a gap tells so")                                                   \
    X(merge, "nothing where merging is allowed: three deltas come as one")                                             \
    X(lose, "a delta is left out")                                                                                     \
    X(lose_start, "the second event is left out")                                                                      \
    X(lose_created, "the first event is left out")                                                                     \
    X(twice, "a delta comes twice")                                                                                    \
    X(swap, "two deltas change places")                                                                                \
    X(offset, "a delta has a wrong offset")                                                                            \
    X(text, "a delta is one character short, and the next offset agrees with it")                                      \
    X(gap_wrong, "a gap leaves one position untold")                                                                   \
    X(merge_short, "a merged delta holds the text of fewer pieces, with matching offsets")                             \
    X(chunk, "a chunk is one byte longer than its size says")                                                          \
    X(garble, "a line that no field begins")                                                                           \
    X(takeover, "an attempt event")                                                                                    \
    X(error, "an error event")                                                                                         \
    X(after_done, "an event after done")                                                                               \
    X(status, "answered with 503")                                                                                     \
    X(cut, "reset in the middle")                                                                                      \
    X(no_done, "the body ends well, but without done")                                                                 \
    X(no_end, "done comes, but the body is not ended")                                                                 \
    X(stall, "goes silent in the middle and stays open")

enum tape_fault {
#define X(name, text) TAPE_##name,
    TAPE_FAULTS(X)
#undef X
        TAPE_FAULT_COUNT
};

enum tape_end { TAPE_OPEN = 0, TAPE_CLOSE, TAPE_RESET, TAPE_SILENT };

struct tape {
    char *data; /* owned */
    size_t len, cap;
    enum tape_end end; /* what is to be done with the connection when all of it is sent */
    enum tape_fault fault;
    const char *token;     /* borrowed; text of a delta, without quotes and backslashes; begins with ASCII */
    uint64_t units;        /* its length in UTF-16 code units */
    uint64_t attempt, seq; /* of the last event made */
    uint64_t offset;       /* length of the text so far */
    char event[8192];      /* the one being made */
};

/* Each ends the program when there is no memory. `mid` is the delta, counted from 1, at which the fault is put. */
void tape_init(struct tape *t, enum tape_fault fault, const char *token);
void tape_fini(struct tape *t);
void tape_open(struct tape *t, uint64_t at); /* head and created */
void tape_start(struct tape *t, uint64_t at);
void tape_delta(struct tape *t, uint64_t at, int64_t number, int64_t mid);
void tape_done(struct tape *t, uint64_t at);
/* Instead of tape_open() and tape_start(): the head, and then what follows the first `skipped` deltas. */
void tape_open_after(struct tape *t, uint64_t skipped);

/* TAPE_FAULT_COUNT if there is no such fault. */
enum tape_fault tape_fault_by_name(const char *name);
const char *tape_fault_name(enum tape_fault fault);
const char *tape_fault_text(enum tape_fault fault);

#endif
