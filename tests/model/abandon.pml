/* on_abandon: two brokers keep viewer leases in Redis, one worker looks at them. Time goes in ticks of a third of a
 * lease; in each of them every broker that lives renews, and the worker looks once, in any order. The steps follow
 * broker/feed/presence and worker/run/lease, except for WITHDRAWS. */
#ifndef KILLS
#define KILLS 0 /* brokers that die */
#endif
#ifndef MOVES
#define MOVES 3 /* a viewer comes to a broker, or leaves it */
#endif
#ifndef MISSES
#define MISSES 0 /* renewals that are lost */
#endif
#ifndef LOSSES
#define LOSSES 0 /* failovers that lose the newest lease */
#endif
#ifndef SLOW
#define SLOW 0 /* how many ticks a broker's clock is behind: only a mutant looks at it */
#endif
#define LEASE 3
#define GRACE 2 /* ticks, cancel_after_ms */
#ifdef M_ONE_LOOK
#define LOOKS_MIN 0
#define WAITED true
#else
#define LOOKS_MIN 2
#define WAITED (since >= GRACE)
#endif

bool watched[2], dead[2];
byte reports[2];         /* renewals of this visit that arrived, up to 9 */
byte lease[2];           /* ticks that it is still good for */
byte was[2];             /* and before the newest renewal */
byte unwatched[2] = 9;   /* ticks since the last viewer of this broker left, up to 9 */
bool told[2], looked, cancelled;
byte quiet; /* ticks without any viewer */
byte looks, since, kills, moves, misses, losses;

#define UP(x) x = (x < 9 -> x + 1 : 9)

/* A viewer whom its broker has reported, once more than a failover took back. */
#define REPORTED(b) (reports[b] > LOSSES)
#define PRESENT(b)  (watched[b] && !dead[b] && REPORTED(b))

inline gone(b) {
    unwatched[b] = (watched[b] && REPORTED(b) -> 0 : unwatched[b]);
    watched[b] = false
}

proctype Broker(byte b) {
end:
    do
    :: atomic { !dead[b] && !told[b] && !cancelled ->
            told[b] = true;
            if
            :: watched[b] ->
                was[b] = lease[b];
#ifdef M_HOST_CLOCK
                lease[b] = LEASE - SLOW;
#else
                lease[b] = LEASE;
#endif
                UP(reports[b]); printf("B%d renews\n", b)
            :: watched[b] && misses < MISSES -> misses++; printf("B%d's renewal is lost\n", b)
            :: !watched[b] && reports[b] > 0 ->
                reports[b] = 0;
#ifdef WITHDRAWS
                lease[b] = 0; was[b] = 0;
#endif
                printf("B%d renews no more\n", b)
            :: !watched[b] && reports[b] == 0
            fi }
    :: atomic { moves < MOVES && !dead[b] && !cancelled ->
            moves++;
            if
            :: !watched[b] -> watched[b] = true; quiet = 0; printf("a viewer comes to B%d\n", b)
            :: else -> gone(b); printf("the viewer leaves B%d\n", b)
            fi }
    :: atomic { kills < KILLS && !dead[b] && !cancelled ->
            kills++;
            dead[b] = true;
            gone(b);
            reports[b] = 0;
            printf("B%d dies\n", b) }
    :: atomic { losses < LOSSES && lease[b] > was[b] && !cancelled ->
            losses++;
            lease[b] = was[b];
            printf("the newest lease of B%d is lost\n", b) }
    od
}

proctype Worker() {
end:
    do
    :: atomic { !looked && !cancelled ->
            looked = true;
            if
            :: lease[0] > 0 || lease[1] > 0 -> looks = 0; since = 0; printf("the worker sees a viewer\n")
            :: else ->
                looks = (looks < 9 -> looks + 1 : 9);
                printf("the worker sees nobody\n");
                if
                :: looks > LOOKS_MIN && WAITED ->
                    cancelled = true;
                    printf("the worker cancels\n");
                    assert(!PRESENT(0) && !PRESENT(1));
                    /* Nobody has been there for the grace time, less what a tick rounds off. */
                    assert(unwatched[0] + 1 >= GRACE && unwatched[1] + 1 >= GRACE)
                :: else
                fi
            fi }
    od
}

/* A tick, when everybody has done what is theirs. Nothing more to come and nobody there: the end is near. */
proctype Clock() {
end:
    do
    :: atomic { (told[0] || dead[0]) && (told[1] || dead[1]) && looked && !cancelled && quiet < 12 ->
            printf("--- tick\n");
            told[0] = false; told[1] = false; looked = false;
            since = (looks > 0 -> (since < 9 -> since + 1 : 9) : 0);
#ifndef M_NO_EXPIRY
            lease[0] = (lease[0] > 0 -> lease[0] - 1 : 0);
            lease[1] = (lease[1] > 0 -> lease[1] - 1 : 0);
            was[0] = (was[0] > 0 -> was[0] - 1 : 0);
            was[1] = (was[1] > 0 -> was[1] - 1 : 0);
#endif
            UP(unwatched[0]); UP(unwatched[1]);
            quiet = (watched[0] || watched[1] -> 0 : quiet + 1);
            /* The last viewer of all has gone: cancelled after the lease, the grace time and three looks. */
            assert(quiet < 10) }
    od
}

init {
    atomic {
        run Broker(0);
        run Broker(1);
        run Worker();
        run Clock()
    }
}
