/* A cancel: a flag in meta, a message on ctl that may be lost, a broker that repeats both until it sees done, workers
 * that die. The model server never ends by itself, so that only a cancel ends the log; ENDS lets it. The steps follow
 * broker/api/cancel and worker/publish/hint, worker/run/generate. */
#ifndef CRASHES
#define CRASHES 0
#endif
#ifndef BROKER_CRASHES
#define BROKER_CRASHES 0 /* after the cancel was accepted */
#endif
#ifndef FLAG_LOSSES
#define FLAG_LOSSES 0 /* failovers that lose the flag */
#endif
#ifndef REPEATS
#define REPEATS 2
#endif

mtype = { IDLE, SUBSCRIBED, RUNNING, SAYING, SETTLING };
mtype state = IDLE; /* of the worker that has the job: one at a time, the fence sees to that */
bool flag, told;    /* told: the message has reached this worker */
bool accepted, repeating, published;
byte done, crashes, broker_crashes, flag_losses, repeats;
bool cancelled;     /* done says so */
bool hot;           /* the model server is asked to go on */

inline end_log(by_cancel) {
    done++;
    cancelled = by_cancel;
    hot = false;
    state = SETTLING;
    printf("done: %d\n", by_cancel)
}

inline publish() {
    /* Nobody listens, the message is lost, or it arrives. */
    if
    :: state != IDLE -> told = true; printf("ctl: the worker is told\n")
    :: printf("ctl: nobody hears it\n")
    fi
}

proctype Broker() {
end:
    do
    :: atomic { !accepted && done == 0 ->
            accepted = true; repeating = true;
#ifndef M_NO_FLAG
            flag = true;
#endif
            printf("cancel accepted: the flag is set\n") }
        atomic { publish() }
    :: atomic { repeating && done == 0 && repeats < REPEATS ->
            repeats++;
#ifndef M_NO_FLAG
            flag = true;
#endif
            printf("the broker repeats\n");
            publish() }
    /* Once nothing else moves there is always one more. */
    :: atomic { repeating && done == 0 && timeout ->
#ifdef M_NO_REPEAT
            repeating = false
#else
#ifndef M_NO_FLAG
            flag = true;
#endif
            printf("the broker repeats\n");
            publish()
#endif
        }
    :: atomic { repeating && broker_crashes < BROKER_CRASHES ->
            broker_crashes++; repeating = false; printf("the broker dies\n") }
    :: atomic { repeating && done > 0 -> repeating = false; printf("the broker sees done\n") }
    od
}

proctype Worker() {
end:
    do
    :: atomic { state == IDLE && done == 0 -> state = SUBSCRIBED; printf("a worker takes the job and subscribes\n") }
    :: atomic { state == SUBSCRIBED ->
            hot = true;
            state = RUNNING;
            told = told || flag;
            printf("it reads the flag: %d\n", flag) }
    :: atomic { state == RUNNING && told -> printf("it stops the model\n"); end_log(true) }
#ifndef M_NO_REREAD
    :: atomic { state == RUNNING && !told && flag -> told = true; printf("a renewal finds the flag\n") }
#endif
#ifdef ENDS
    /* Its last word is on the way; a cancel now is too late. */
    :: atomic { state == RUNNING && !told -> state = SAYING; printf("the model has ended\n") }
    :: atomic { state == SAYING -> end_log(false) }
#endif
#ifdef M_CANCELS_TWICE
    :: atomic { (state == SAYING || state == SETTLING) && told && done < 2 ->
            printf("again\n"); end_log(true) }
#endif
    :: atomic { state != IDLE && state != SETTLING && crashes < CRASHES ->
            crashes++; state = IDLE; told = false; hot = false; printf("the worker dies\n") }
    od
}

proctype Faults() {
end:
    do
    :: atomic { flag && flag_losses < FLAG_LOSSES -> flag_losses++; flag = false; printf("the flag is lost\n") }
    od
}

/* A flag that a failover took back, when the broker that would repeat it is dead, is the one cancel that is lost. */
#define EXCUSED (flag_losses > 0 && broker_crashes > 0)

#ifdef M_NO_REPEAT
#define QUIET (timeout && !repeating)
#else
#define QUIET (timeout && !(repeating && done == 0))
#endif

proctype Final() {
    QUIET ->
    atomic {
        printf("--- nothing moves any more\n");
        assert(done <= 1);
        assert(!accepted || done == 1 || EXCUSED);
        assert(done == 0 || !hot)
    }
}

init {
    atomic { run Broker(); run Worker(); run Faults(); run Final() }
}
