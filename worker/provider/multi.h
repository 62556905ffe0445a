/* A libcurl multi handle that lives on a libuv loop: sockets under uv_poll_t, curl's one timer under a uv_timer_t, or,
 * when it is due at once, under a uv_idle_t. Knows nothing of requests; transfer.h does. Loop thread only. */
#ifndef WORKER_PROVIDER_MULTI_H
#define WORKER_PROVIDER_MULTI_H

#include "base/attr.h"

#include <curl/curl.h>
#include <stdbool.h>
#include <uv.h>

struct multi {
    uv_loop_t *loop; /* borrowed */
    CURLM *curl;     /* owned */
    uv_timer_t timer;
    uv_idle_t soon;           /* curl wants to go on at once */
    void (*after)(void *arg); /* curl has worked: look for results. From the loop, never from inside curl */
    void *arg;
    unsigned handles; /* libuv handles not closed yet */
    bool closing;
    void (*close_cb)(void *arg);
};

TC_MUST_USE int multi_init(struct multi *m, uv_loop_t *loop, void (*after)(void *arg), void *arg);
/* No easy handle may be left inside. cb(arg of multi_init) once, later; then the memory is the caller's. */
void multi_close(struct multi *m, void (*cb)(void *arg));

#endif
