/* One event loop of the broker with everything on it: listener, Redis link, feeds, routes. The first loop runs on the
 * main thread beside the operations port; each other has a thread. Nothing is shared but read-only options; what
 * crosses is a task, by uv_async_send and a locked list. */
#ifndef BROKER_OPS_LOOP_H
#define BROKER_OPS_LOOP_H

#include "api/api.h"
#include "base/list.h"
#include "base/metrics.h"
#include "feed/hub.h"
#include "http/http.h"
#include "options.h"

#include <stdatomic.h>
#include <uv.h>

struct loop;

struct task { /* runs once on the loop it is posted to; its memory is the poster's again when it runs */
    struct tc_list node;
    void (*run)(struct task *t, struct loop *l);
};

/* RUNNING --stop--> LEAVING --delay--> DRAINING --all gone, or time is up--> CLOSING -> CLOSED
 *                      |                  |                                     ^
 *                      +------------------+---------- stop again ---------------+                                    */
enum loop_phase { LOOP_RUNNING = 0, LOOP_LEAVING, LOOP_DRAINING, LOOP_CLOSING, LOOP_CLOSED };

struct loop {
    uv_loop_t uv;
    const struct broker_options *opts; /* borrowed, read-only */
    char instance[48];                 /* name among viewers */
    struct cors cors;
    struct tc_redis *redis;
    atomic_bool redis_usable; /* read by any thread, as the next: some of Redis can be used … */
    atomic_bool redis_whole;  /* … and all of it */
    struct hub hub;
    struct api api;
    struct http_server *server;
    struct http_batch *batch; /* owned; NULL = streams are sent one by one */
    struct tc_metrics *metrics;
    enum loop_phase phase;
    uv_timer_t drain;        /* ticks while LEAVING and DRAINING */
    uint64_t leave_ms;       /* loop time at which accepting ends */
    uint64_t drain_until_ms; /* … and at which what is left is cut off */
    uv_timer_t memory;       /* looks at the process's memory, if that is bounded */
    unsigned trim_in;        /* looks until freed memory is given back */
    uv_async_t async;
    uv_mutex_t lock;      /* guards tasks only */
    struct tc_list tasks; /* struct task */
    uv_thread_t thread;
    void (*on_redis)(void *arg);  /* may be NULL: Redis became usable; loop thread, redis_usable is set */
    void (*on_closed)(void *arg); /* may be NULL: everything but the mailbox is closed */
    void *arg;
    struct tc_redis_watch watch;
    bool released;
};

/* On the calling thread, before the loop runs. `listen` is the address with its final port. */
TC_MUST_USE int loop_init(struct loop *l, const struct broker_options *opts, unsigned number, const char *listen);
/* Any thread; until loop_release(). A task that runs while phase is LOOP_CLOSING or later finds server, hub and Redis
 * gone. */
void loop_post(struct loop *l, struct task *t);
/* Loop thread: readiness is the caller's. Goes on for opts->drain_delay, stops accepting, says `bye` to the streams
 * over opts->drain_window, waits at most opts->drain more for what is left, closes everything but the mailbox, so that
 * tasks on their way still run. Called again: at once. */
void loop_stop(struct loop *l);
/* Loop thread, after loop_stop(): uv_run() returns once all is closed; nothing may be posted any more. */
void loop_release(struct loop *l);
/* After uv_run() returned. */
void loop_fini(struct loop *l);

#endif
