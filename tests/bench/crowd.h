/* Many clients that read streams: opened at a bounded rate from loopback addresses, each judged by a checker. Some may
 * stop reading for a while; all may lose their server and go on at another. One thread; everything happens inside
 * crowd_step() and the verbs. */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include "checker.h"
#include "paths.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crowd_options {
    const char *host; /* numeric IPv4 */
    int64_t port;
    struct paths paths; /* borrowed; client i reads the one at i modulo their number */
    int64_t clients;
    int64_t rate;    /* connections begun a second */
    int64_t sources; /* addresses to come from: 127.0.0.1 and on; 1 = leave it to the kernel */
    int64_t nap_us;  /* looks at the sockets so often; 0 = waits for them and is woken by the server's send */
    bool merged_ok;
    bool foreign;                /* not our broker: see struct checker_tally; a client leaves after done */
    int64_t stallers;            /* how many of them stop reading at crowd_stall(), evenly spread */
    int64_t resume_port;         /* where clients go on that lose their connection; 0: they are judged */
    int64_t resume_events;       /* a client that came back has caught up when it has so many more */
    struct facts_position after; /* the first request asks for what follows; seq 0: for everything */
};

struct client {
    struct checker checker;
    uint64_t asked_us; /* monotonic, when its connection was begun */
    uint64_t target;   /* seq at which it has caught up; 0 = it has, or never was away */
    int fd;            /* -1 before it is opened and after it is closed */
    bool connecting;
    bool lost;    /* waits for crowd_resume() */
    bool staller; /* one of those that stop */
    bool stopped; /* not in the epoll set now */
};

/* Durations of each client, microseconds since its connection was begun. */
struct crowd_times {
    struct histogram head;      /* to the response's head */
    struct histogram first;     /* to the first event that has a position */
    struct histogram whole;     /* to the end of a whole stream */
    struct histogram caught_up; /* from crowd_resume() to its target */
};

struct crowd {
    struct crowd_options opts;
    struct checker_tally tally;         /* of those that never stop */
    struct checker_tally stalled_tally; /* of the stallers: their latency is not that of a reader */
    struct crowd_times times;
    struct client *clients; /* owned, opts.clients of them */
    struct sockaddr_in to;
    char *read_buffer; /* owned, shared by all clients */
    int epoll;
    uint64_t began_us;   /* monotonic, of the first step; 0 before */
    uint64_t resumed_us; /* monotonic, of crowd_resume(); 0 before */
    int64_t opened;      /* all below this have been opened, since the beginning or since crowd_resume() */
    int64_t connecting, answered, ended, lost;
    int64_t begun; /* clients that have had a third event: the first delta */
};

/* 0, or -1 with errno. */
int crowd_init(struct crowd *c, const struct crowd_options *opts);
void crowd_fini(struct crowd *c);

/* Opens the connections that are due and waits at most timeout_ms for events. 0, or -1 with errno. */
int crowd_step(struct crowd *c, int timeout_ms);

/* The stallers that are connected stop reading, or go on. */
void crowd_stall(struct crowd *c, bool stop);

/* All who lost their server ask resume_port for what follows, at once. */
void crowd_resume(struct crowd *c);

/* Closes what is open; `fault` is the verdict on those that had none yet (CHECKER_none: they may end here). */
void crowd_close(struct crowd *c, enum checker_fault fault);

/* Every client has been answered with 200, or has ended. */
bool crowd_ready(const struct crowd *c);
/* Every client has lost its server, or has ended; at least one has lost it. */
bool crowd_deserted(const struct crowd *c);
/* Every client has ended. */
bool crowd_over(const struct crowd *c);

#endif
