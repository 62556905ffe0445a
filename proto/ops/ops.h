/* The operations port of either tier: /livez, /readyz, /metrics over HTTP/1.1 on the loop it was started on.
 * Bounded: 64 connections, 8 KiB of request, 5 s to send it; anything else is 404/405/431. Loop thread. */
#ifndef TC_OPS_OPS_H
#define TC_OPS_OPS_H

#include "base/attr.h"
#include "base/buf.h"

#include <uv.h>

struct tc_ops;
struct tc_ops_scrape; /* a /metrics request that waits for its answer */

struct tc_ops_handlers {
    /* 1 = ready (200). 0 = not (503); `why` gets one line either way. */
    int (*ready)(void *arg, struct tc_buf *why);
    /* /livez was asked: must be followed by a tc_ops_alive(), now or later on this loop, once what there is to look at
     * is seen to live. NULL: answered at once; that this loop turns is all there is to know. */
    void (*live)(void *arg);
    /* Must end in exactly one tc_ops_scrape_done(scrape, text), now or later on this loop. */
    void (*metrics)(void *arg, struct tc_ops_scrape *scrape);
    void *arg;
};

/* Listens on address (see TC_OPT_ADDRESS; port 0 asks for a free one). TC_EINVAL, TC_ENOMEM, TC_EIO (logged with its
 * reason); the loop needs one more turn after a failure, to close the socket. */
TC_MUST_USE int tc_ops_start(struct tc_ops **out, uv_loop_t *loop, const char *address,
                             const struct tc_ops_handlers *h);
int tc_ops_port(const struct tc_ops *ops);
void tc_ops_scrape_done(struct tc_ops_scrape *scrape, struct tc_str text); /* copies text; safe if the peer left */

void tc_ops_alive(struct tc_ops *ops); /* answers each /livez that waits; not after tc_ops_close() */

/* Closes everything; cb once, afterwards the memory is gone. Scrapes under way must still be answered. */
void tc_ops_close(struct tc_ops *ops, void (*cb)(void *arg), void *arg);

#endif
