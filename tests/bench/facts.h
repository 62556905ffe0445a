/* What the checker wants to know of one event's JSON, found by scanning for the keys: no tree is built, since the load
 * generator shares its cores with what it measures. Pure functions. */
#ifndef BENCH_FACTS_H
#define BENCH_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct facts_position {
    uint64_t attempt, seq;
};

struct facts {
    uint64_t at;                    /* microseconds; 0 = absent */
    uint64_t offset;                /* of a delta, UTF-16 code units */
    uint64_t units;                 /* length of its text, UTF-16 code units */
    uint64_t text_length;           /* of `done` */
    uint64_t dropped;               /* of `gap` */
    struct facts_position from, to; /* of `gap` */
    bool has_offset, has_text, has_text_length, has_range;
    bool answer_text; /* kind text, index 0: the text whose offsets are followed */
    bool lost;        /* `gap` with reason "lost" */
};

void facts_of_delta(struct facts *f, const char *json, size_t n);
void facts_of_gap(struct facts *f, const char *json, size_t n);
/* The position as the value of "id", for servers that number their events by themselves. */
bool facts_id(const char *json, size_t n, struct facts_position *out);
void facts_of_done(struct facts *f, const char *json, size_t n);

/* `<attempt>-<seq>` in canonical decimal, the whole of p[0..n). */
bool facts_parse_position(const char *p, size_t n, struct facts_position *out);

#endif
