/* The job of one generation: who puts it into the queue, who takes it, and what happens when the queue or meta loses
 * its latest writes. Of the log only the fence and the end are left. The steps follow broker/api/start and worker/run
 * (job_run, jobs); each is one command at Redis. COMPARES: meta.job is cleared only if it is still the lost one. */
#ifndef BROKER_CRASHES
#define BROKER_CRASHES 0
#endif
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef QUEUE_LOSSES
#define QUEUE_LOSSES 0 /* failovers of the queue */
#endif
#ifndef META_LOSSES
#define META_LOSSES 0 /* failovers of the generation's slot */
#endif
#ifndef REPEATS
#define REPEATS 1 /* repeats of the request, and viewers that find the job missing */
#endif

#ifndef AGAINS
#define AGAINS 2 /* times that they act while others move; after that they wait until it is quiet */
#endif

#define JOBS   8 /* ids 1 to 7; 0 = none */
#define NOBODY 9

mtype = { ABSENT, NEW, PENDING };
mtype queue[JOBS];
byte holder[JOBS];
byte ids, meta_job, meta_before;
bool created, done;
byte fence = NOBODY;  /* the worker that wrote last */
bool running[2];
byte job[2];         /* what a worker holds */
byte broker_crashes, crashes, queue_losses, meta_losses;
byte agains;

#define MISSING(j) ((j) == 0 || queue[j] == ABSENT)

inline set_meta(j) { meta_before = meta_job; meta_job = j }

/* XADD to the queue, then HSETNX meta.job: two slots, two commands. */
inline enqueue() {
    atomic {
        ids++;
        assert(ids < JOBS);
        mine = ids;
        queue[mine] = NEW;
        holder[mine] = NOBODY;
        printf("B%d queues job %d\n", b, mine)
    }
    atomic {
        if
        :: broker_crashes < BROKER_CRASHES -> broker_crashes++; printf("B%d dies before it sets meta.job\n", b)
#ifdef M_SET_ANYWAY
        :: true -> set_meta(mine); printf("B%d sets meta.job to %d\n", b, mine)
#else
        :: meta_job == 0 -> set_meta(mine); printf("B%d sets meta.job to %d\n", b, mine)
        :: meta_job != 0 -> printf("B%d finds meta.job %d\n", b, meta_job)
#endif
        fi;
        mine = 0
    }
}

proctype Creator(byte b) {
    byte mine;
    atomic { created = true; printf("B%d creates log and meta\n", b) }
    if
    :: atomic { broker_crashes < BROKER_CRASHES -> broker_crashes++; printf("B%d dies before it queues the job\n", b) }
    :: enqueue()
    fi
}

/* A repeat, or a broker with a viewer: looks at meta and the log, then at the queue, then acts on what it saw. */
proctype Again(byte b) {
    byte mine, seen;
end:
    do
    :: atomic { created && !done && MISSING(meta_job) && (agains < AGAINS || timeout) ->
            agains = (agains < AGAINS -> agains + 1 : agains);
            seen = meta_job;
            printf("B%d sees that job %d is not in the queue\n", b, seen) }
#ifndef M_NO_REQUEUE
        if
        :: seen == 0 -> enqueue()
        :: atomic { seen != 0 ->
#ifdef COMPARES
                if
                :: meta_job == seen -> set_meta(0); printf("B%d clears meta.job\n", b)
                :: meta_job != seen -> seen = 0; printf("B%d finds that meta.job has changed\n", b)
                fi
#else
                set_meta(0);
                printf("B%d clears meta.job\n", b)
#endif
            }
            if
            :: seen != 0 -> enqueue()
            :: seen == 0
            fi
        fi;
        seen = 0
#else
        break
#endif
    od
}

/* Its job is in the queue and is its own. Two such workers at once are one too many, unless meta lost its latest write.
 * A worker whose job the queue has lost may still fence, once: its look at meta was before. */
#define HAS(o)  (queue[job[o]] == PENDING && holder[job[o]] == o)
#define RUNS(o) (META_LOSSES == 0 && running[o] && fence == o && HAS(o))

#define j job[w]

inline leave() {
    running[w] = false;
    if
    :: holder[j] == w -> holder[j] = NOBODY
    :: else
    fi;
    j = 0
}

inline ack() {
    queue[j] = ABSENT; holder[j] = 0;
    running[w] = false;
    printf("W%d acknowledges job %d\n", w, j);
    j = 0
}

inline take(n) {
    j = n; queue[n] = PENDING; holder[n] = w;
    printf("W%d takes job %d\n", w, n)
}

#define FREE(n) (queue[n] == NEW || (queue[n] == PENDING && holder[n] == NOBODY))

proctype Worker(byte w) {
end:
    do
    :: atomic { j == 0 && FREE(1) -> take(1) }
    :: atomic { j == 0 && FREE(2) -> take(2) }
    :: atomic { j == 0 && FREE(3) -> take(3) }
    :: atomic { j == 0 && FREE(4) -> take(4) }
    :: atomic { j == 0 && FREE(5) -> take(5) }
    :: atomic { j == 0 && FREE(6) -> take(6) }
    :: atomic { j == 0 && FREE(7) -> take(7) }
    :: j != 0 ->
        do
        :: atomic { meta_job == 0 ->
#ifdef M_DROPS_UNKNOWN
                ack(); break
#else
                skip; printf("W%d finds no meta.job\n", w)
#endif
                }
            atomic {
                if
                :: meta_job == 0 -> set_meta(j); printf("W%d sets meta.job to %d\n", w, j)
                :: else
                fi }
#ifdef M_NO_META_RULE
        :: meta_job != 0 -> break
#else
        :: meta_job == j -> break
        :: atomic { meta_job != 0 && meta_job != j -> printf("W%d drops job %d: it is not meta.job\n", w, j); ack() }
            break
#endif
        od;
        if
        :: j == 0
        :: atomic { j != 0 && done -> ack() }
        :: atomic { j != 0 && !done ->
                printf("W%d fences\n", w);
                assert(!HAS(w) || !RUNS(1 - w));
                fence = w;
                running[w] = true }
            if
            :: atomic { fence == w -> done = true; printf("W%d writes done\n", w) }
                atomic { ack() }
            :: atomic { fence != w -> printf("W%d is fenced\n", w); leave() }
            :: atomic { crashes < CRASHES -> crashes++; printf("W%d dies\n", w); leave() }
            fi
        fi
    od
}

/* What a failover of the queue does to its newest job: XADD lost, delivery lost, or acknowledgement lost. */
proctype Faults() {
end:
    do
    :: atomic { queue_losses < QUEUE_LOSSES && ids > 0 ->
            queue_losses++;
            if
            :: queue[ids] = ABSENT; holder[ids] = 0; printf("the queue loses job %d\n", ids)
            :: queue[ids] = NEW; holder[ids] = NOBODY; printf("the queue forgets that job %d was given out\n", ids)
            :: queue[ids] == ABSENT -> queue[ids] = PENDING; holder[ids] = NOBODY;
                printf("the queue forgets that job %d was acknowledged\n", ids)
            fi }
    :: atomic { meta_losses < META_LOSSES && meta_job != meta_before ->
            meta_losses++;
            meta_job = meta_before;
            printf("meta.job is %d again\n", meta_job) }
    od
}

proctype Final() {
    byte i;
    timeout && !(created && !done && MISSING(meta_job)) ->
    atomic {
        printf("--- nothing moves any more\n");
        assert(done);
        for (i : 1 .. JOBS - 1) { assert(queue[i] == ABSENT) }
    }
}

init {
    byte i;
    atomic {
        for (i : 0 .. JOBS - 1) { queue[i] = ABSENT }
        run Creator(0);
        for (i : 1 .. REPEATS) { run Again(i) }
        run Worker(0);
        run Worker(1);
        run Faults();
        run Final();
        i = 0
    }
}
