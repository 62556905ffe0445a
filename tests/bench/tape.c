/* Makes the broker's bytes without the broker's code. One thread; the baseline's hot loop never comes here but once an
 * event. */
#include "tape.h"

#include "args.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MERGED  3    /* deltas that a gap or a merged delta stands for */
#define ATTEMPT 1203 /* whatever a worker may have chosen */

static const char *const fault_names[TAPE_FAULT_COUNT] = {
#define X(name, text) #name,
    TAPE_FAULTS(X)
#undef X
};

static const char *const fault_texts[TAPE_FAULT_COUNT] = {
#define X(name, text) text,
    TAPE_FAULTS(X)
#undef X
};

enum tape_fault tape_fault_by_name(const char *name) {
    int i = 0;
    while (i < TAPE_FAULT_COUNT && strcmp(fault_names[i], name) != 0)
        i++;
    return (enum tape_fault)i;
}

const char *tape_fault_name(enum tape_fault fault) {
    return fault_names[fault];
}

const char *tape_fault_text(enum tape_fault fault) {
    return fault_texts[fault];
}

static void put(struct tape *t, const char *p, size_t n) {
    if (t->len + n > t->cap) {
        size_t cap = (t->len + n) * 2;
        char *grown = realloc(t->data, cap);
        if (grown == NULL)
            bench_die("no memory");
        t->data = grown;
        t->cap = cap;
    }
    memcpy(t->data + t->len, p, n);
    t->len += n;
}

/* The `n` bytes of t->event, as snprintf() counted them, become one chunk. */
static void put_chunk(struct tape *t, int n) {
    char size[16];
    if (n < 0 || n >= (int)sizeof(t->event))
        bench_die("an event is too long");
    put(t, size, (size_t)snprintf(size, sizeof(size), "%x\r\n", (unsigned)n));
    put(t, t->event, (size_t)n);
    put(t, "\r\n", 2);
}

static void put_delta(struct tape *t, uint64_t seq, uint64_t offset, const char *text, uint64_t at) {
    put_chunk(t, snprintf(t->event, sizeof(t->event),
                          "event: delta\ndata: {\"type\":\"delta\",\"text\":\"%s\",\"offset\":%" PRIu64
                          ",\"kind\":\"text\",\"at\":%" PRIu64 "}\nid: %" PRIu64 "-%" PRIu64 "\n\n",
                          text, offset, at, t->attempt, seq));
}

/* A told gap over the last MERGED deltas, of which `hidden` are not told of. */
static void put_gap(struct tape *t, uint64_t hidden) {
    put_chunk(t, snprintf(t->event, sizeof(t->event),
                          "event: gap\ndata: {\"type\":\"gap\",\"from\":\"%" PRIu64 "-%" PRIu64 "\",\"to\":\"%" PRIu64
                          "-%" PRIu64 "\",\"dropped\":%" PRIu64 ",\"reason\":\"overflow\"}\n\n",
                          t->attempt, t->seq - MERGED + 1 + hidden, t->attempt, t->seq, MERGED - hidden));
}

static uint64_t utf16_units(const char *s) {
    uint64_t units = 0;
    for (; *s != '\0'; s++) {
        unsigned char ch = (unsigned char)*s;
        units += ch >= 0xF0 ? 2 : (ch & 0xC0) != 0x80;
    }
    return units;
}

void tape_init(struct tape *t, enum tape_fault fault, const char *token) {
    size_t len = strlen(token);
    if (len < 2 || len > 1024 || strpbrk(token, "\"\\\r\n") != NULL)
        bench_die("a token is 2 to 1024 characters without quotes, backslashes and line ends");
    *t = (struct tape){.fault = fault, .token = token, .units = utf16_units(token)};
}

void tape_fini(struct tape *t) {
    free(t->data);
    t->data = NULL;
    t->len = t->cap = 0;
}

static void put_head(struct tape *t) {
    char head[256];
    int status = t->fault == TAPE_status ? 503 : 200;
    int n = snprintf(head, sizeof(head),
                     "HTTP/1.1 %d X\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache, no-transform\r\n"
                     "X-Accel-Buffering: no\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
                     status);
    put(t, head, (size_t)n);
}

void tape_open(struct tape *t, uint64_t at) {
    put_head(t);
    t->seq = 1;
    put_chunk(t, snprintf(t->event, sizeof(t->event),
                          "event: open\ndata: {\"type\":\"open\",\"state\":\"queued\",\"position\":\"0-1\"}\n\n"));
    if (t->fault != TAPE_lose_created)
        put_chunk(t, snprintf(t->event, sizeof(t->event),
                              "event: created\ndata: {\"type\":\"created\",\"model\":\"bare\",\"at\":%" PRIu64
                              "}\nid: 0-1\n\n",
                              at));
}

void tape_open_after(struct tape *t, uint64_t skipped) {
    put_head(t);
    t->attempt = ATTEMPT;
    t->seq = 2 + skipped;
    t->offset = skipped * t->units;
}

void tape_start(struct tape *t, uint64_t at) {
    t->attempt = ATTEMPT;
    t->seq = 2;
    if (t->fault != TAPE_lose_start)
        put_chunk(t, snprintf(t->event, sizeof(t->event),
                              "event: start\ndata: {\"type\":\"start\",\"model\":\"bare\",\"at\":%" PRIu64
                              "}\nid: %" PRIu64 "-2\n\n",
                              at, t->attempt));
}

/* The faults that take MERGED deltas: called for each of them, told which. True when this one was taken. */
static bool mangle_some(struct tape *t, uint64_t at, int64_t which) {
    char merged[MERGED * 1024 + 1];
    if (which < 0 || which >= MERGED)
        return false;
    if (t->fault != TAPE_gap && t->fault != TAPE_gap_wrong && t->fault != TAPE_merge && t->fault != TAPE_merge_short)
        return false;
    t->offset += t->units;
    if (which < MERGED - 1)
        return true;
    if (t->fault == TAPE_gap || t->fault == TAPE_gap_wrong) {
        put_gap(t, t->fault == TAPE_gap ? 0 : 1);
        return true;
    }
    snprintf(merged, sizeof(merged), "%s%s%s", t->token, t->token, t->token);
    if (t->fault == TAPE_merge_short)
        merged[MERGED - 1] = '\0';
    put_delta(t, t->seq, t->offset - MERGED * t->units, merged, at);
    if (t->fault == TAPE_merge_short)
        t->offset -= MERGED * t->units - (MERGED - 1);
    return true;
}

/* A delta with its fault; the caller has counted it. */
static void mangle_one(struct tape *t, uint64_t at) {
    switch (t->fault) {
    case TAPE_lose:
        break;
    case TAPE_twice:
        put_delta(t, t->seq, t->offset, t->token, at);
        put_delta(t, t->seq, t->offset, t->token, at);
        break;
    case TAPE_swap: /* the next delta finds its place taken */
        put_delta(t, t->seq + 1, t->offset + t->units, t->token, at);
        break;
    case TAPE_offset:
        put_delta(t, t->seq, t->offset + 1, t->token, at);
        break;
    case TAPE_text:
        put_delta(t, t->seq, t->offset, t->token + 1, at);
        t->offset--;
        break;
    case TAPE_chunk:
        put_delta(t, t->seq, t->offset, t->token, at);
        put(t, "x", 1);
        break;
    case TAPE_garble:
        put_chunk(t, snprintf(t->event, sizeof(t->event), "no field\n\n"));
        break;
    case TAPE_error:
        put_chunk(t, snprintf(t->event, sizeof(t->event),
                              "event: error\ndata: {\"type\":\"error\",\"code\":\"upstream_eof\",\"at\":%" PRIu64
                              "}\nid: %" PRIu64 "-%" PRIu64 "\n\n",
                              at, t->attempt, t->seq));
        break;
    case TAPE_takeover:
        t->attempt++;
        put_chunk(t, snprintf(t->event, sizeof(t->event),
                              "event: attempt\ndata: {\"type\":\"attempt\",\"mode\":\"restart\",\"at\":%" PRIu64
                              "}\nid: %" PRIu64 "-%" PRIu64 "\n\n",
                              at, t->attempt, t->seq));
        break;
    default:
        t->end = t->fault == TAPE_cut ? TAPE_RESET : TAPE_SILENT;
        break;
    }
    t->offset += t->units;
}

static bool mangles_one(enum tape_fault fault) {
    return fault == TAPE_lose || fault == TAPE_twice || fault == TAPE_swap || fault == TAPE_offset ||
           fault == TAPE_text || fault == TAPE_chunk || fault == TAPE_garble || fault == TAPE_takeover ||
           fault == TAPE_error || fault == TAPE_cut || fault == TAPE_stall;
}

void tape_delta(struct tape *t, uint64_t at, int64_t number, int64_t mid) {
    if (t->end != TAPE_OPEN)
        return;
    t->seq++;
    if (mangle_some(t, at, number - mid))
        return;
    if (number == mid && mangles_one(t->fault)) {
        mangle_one(t, at);
        return;
    }
    put_delta(t, t->seq, t->offset, t->token, at);
    t->offset += t->units;
}

void tape_done(struct tape *t, uint64_t at) {
    /* What was taken away without a word still belongs to the text. */
    uint64_t length = t->offset + (t->fault == TAPE_text ? 1 : 0);
    if (t->end != TAPE_OPEN)
        return;
    t->seq++;
    t->end = TAPE_CLOSE;
    if (t->fault != TAPE_no_done)
        put_chunk(t, snprintf(t->event, sizeof(t->event),
                              "event: done\ndata: {\"type\":\"done\",\"reason\":\"stop\",\"text_length\":%" PRIu64
                              ",\"at\":%" PRIu64 "}\nid: %" PRIu64 "-%" PRIu64 "\n\n",
                              length, at, t->attempt, t->seq));
    if (t->fault == TAPE_after_done)
        put_delta(t, t->seq + 1, t->offset, t->token, at);
    if (t->fault != TAPE_no_end)
        put(t, "0\r\n\r\n", 5);
}
