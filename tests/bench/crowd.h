/* Many clients that read one stream: opened at a bounded rate from loopback addresses, each judged by a checker. One
 * thread; everything happens inside crowd_step(). */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include "checker.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct crowd_options {
    const char *host; /* numeric IPv4 */
    int64_t port;
    const char *path;
    int64_t clients;
    int64_t rate;    /* connections begun a second */
    int64_t sources; /* addresses to come from: 127.0.0.1 and on; 1 = leave it to the kernel */
};

struct client {
    struct checker checker;
    int fd; /* -1 before it is opened and after it is closed */
    bool connecting;
};

struct crowd {
    struct crowd_options opts;
    struct checker_tally tally;
    struct client *clients; /* owned, opts.clients of them */
    struct sockaddr_in to;
    char *request; /* owned */
    size_t request_len;
    char *read_buffer; /* owned, shared by all clients */
    int epoll;
    uint64_t began_us; /* monotonic, of the first step; 0 before */
    int64_t opened, connecting, answered, ended;
};

/* 0, or -1 with errno. */
int crowd_init(struct crowd *c, const struct crowd_options *opts);
void crowd_fini(struct crowd *c);

/* Opens the connections that are due and waits at most timeout_ms for events. 0, or -1 with errno. */
int crowd_step(struct crowd *c, int timeout_ms);

/* Closes what is open; `fault` is the verdict on those that had none yet (CHECKER_none: they may end here). */
void crowd_close(struct crowd *c, enum checker_fault fault);

/* Every client has been answered with 200, or has ended. */
bool crowd_ready(const struct crowd *c);
/* Every client has ended. */
bool crowd_over(const struct crowd *c);

#endif
