/* One generation's log: Redis, workers that crash, stall and return, failovers that lose the tail, one reader.
 * Every step is one command at Redis, or the handling of its answer; between steps anybody may go on, so a stalled
 * worker is one that is not scheduled. The steps follow worker/publish (fence, append, check), worker/run/job_run and
 * broker/feed/tail. What each -D is: see run.sh. */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef SAYS
#define SAYS 2 /* entries an attempt says; the last of them is done */
#endif
#ifndef FAILOVERS
#define FAILOVERS 0
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef LAPSES
#define LAPSES 0 /* leases that run out although the worker lives */
#endif
#ifndef LINKS
#define LINKS 0 /* answers lost: the command was executed, was not, or will be later */
#endif
#ifndef DELETES
#define DELETES 0
#endif
#ifndef TRIMS
#define TRIMS 0 /* entries taken from the log's start */
#endif
#ifndef REFUSALS
#define REFUSALS 0 /* OOM and its like */
#endif
#ifndef SAME_MS
#define SAME_MS 0 /* attempts that read the same millisecond from the clock as the one before */
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef WINDOW
#define WINDOW SAYS /* acknowledged entries that a worker can repeat */
#endif

/* A position is attempt and seq in one byte, so that it compares as it should. A value says who wrote an entry (the
 * mark of an attempt, never given twice) and which of its entries it is; TWO: it carries the one before it as well. */
#define POS(a, s)   (((a) << 4) | (s))
#define ATTEMPT(p)  ((p) >> 4)
#define SEQ(p)      ((p) & 15)
#define VALUE(m, t) (((m) << 4) | (t))
#define SAID(v)     ((v) & 7)
#define TWO         8
#define CANCELLED   7
#define IS_DONE(v)  ((v) > 15 && (SAID(v) == SAYS || SAID(v) == CANCELLED))
#define ENTRIES     20
#define SEQS        16

bool exists = true;
byte size = 1, entry[ENTRIES], value[ENTRIES];
byte stable = 1;  /* this much has reached every replica */
bool changed = true; /* since the reader last read */
bool job = true;  /* in the queue, not acknowledged */
byte clock, marks;
bool flag;        /* cancel, in meta */
bool meta_ended;
bool over;        /* looked at, nothing moves any more */

byte failovers, crashes, lapses, links, deletes, refusals, same_ms, cancels;
byte trims;
#if TRIMS > 0
byte cut[SEQS];   /* what was there before it was trimmed, for comparison at the end */
#endif
bool holes;       /* a failover under a link that survived it may leave one */

/* Workers. */
mtype = { IDLE, OPEN, FENCE, LOOK, LIVE, ANSWERED, REFENCE, RELOOK, SETTLE };
#define NOBODY 9
byte owner = NOBODY;
mtype state[WORKERS];
byte attempt[WORKERS], mark[WORKERS];
byte base[WORKERS];    /* the last event before my fence */
byte acked[WORKERS];   /* my last acknowledged event, or base */
byte top[WORKERS];     /* what the log should end with */
byte length[WORKERS];  /* how many entries it should have */
byte settled[WORKERS]; /* entries there when the settle time began, and never lost since */
byte sent[WORKERS];    /* so many of my entries have gone out once, their bytes are fixed */
byte stopped[WORKERS]; /* cancelled: this one is done; 0 = it was not */
bool ended_before[WORKERS], relink[WORKERS];
byte late[WORKERS], late_value[WORKERS]; /* a command that a hung link may still deliver */

/* Announcements on their way, the newest of each worker: an older one was delivered before, or is lost. */
byte bell[WORKERS], bell_value[WORKERS];

/* The reader. */
#define GAP 1
byte last, shown[SEQS];
mtype = { READING, ENDED, VANISHED };
mtype reader = READING;
bool done_lost;

/* Scratch of one step: always 0 between steps. A search breadth first does not know hidden variables. */
#ifdef BREADTH
#define SCRATCH byte
#else
#define SCRATCH hidden byte
#endif
SCRATCH i, j, k, p, res;
byte n, v; /* also within steps that have a choice in them */
#define OK    1
#define STALE 2
#define NIL   3

#include "redis.inc"
#include "worker.inc"
#include "reader.inc"
#include "final.inc"

init {
    d_step {
        entry[0] = POS(0, 1);
        value[0] = 1;
        for (i : 0 .. WORKERS - 1) { state[i] = IDLE }
        i = 0;
    }
    atomic {
        for (k : 0 .. WORKERS - 1) { run Worker(k) }
        run Reader();
        run Faults();
        run Final();
        k = 0;
    }
}
