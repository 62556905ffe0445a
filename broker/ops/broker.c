/* The broker's main thread. A scrape is gathered by a message that goes round the loops: each adds its metrics to a
 * copy, and back on the main loop it is rendered. Another round is the pulse, which stops when any loop hangs: started
 * by a timer for a supervisor's watchdog, and by /livez, which is not answered without it. */
#include "ops/broker.h"

#include "base/log.h"
#include "ops/loop.h"
#include "ops/metrics.h"
#include "ops/notify.h"
#include "ops/ops.h"
#include "ops/round.h"
#include "tokencast/error.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct broker {
    const struct broker_options *opts;
    struct loop *loops; /* opts->loops of them; the first is the main thread's */
    size_t started;     /* loops that were initialised */
    struct tc_ops *ops;
    uv_signal_t term, interrupt;
    struct member *members; /* one a loop */
    size_t open;            /* loops that are not closed yet */
    size_t scrapes;         /* under way */
    struct tc_notify notify;
    struct round pulse;
    bool pulsing, told_supervisor; /* the pulse is under way; READY=1 was said */
    bool stopping, hurried;
    atomic_bool told_ready;
    char listen[300], ops_listen[300];
};

struct member { /* a loop, and what is posted on the way out */
    struct broker *broker;
    struct task stop, hurry, release; /* to it */
    struct task closed;               /* from it */
};

struct scrape {
    struct round round; /* first */
    struct broker *broker;
    struct tc_ops_scrape *answer;
    struct tc_metrics *sum;
};

#define MAX_SCRAPES   64    /* at a time: while a loop hangs none comes back, and its peer leaves after 5 s */
#define STOP_SPARE_MS 10000 /* beyond the drain, before a supervisor kills us: closing Redis, a slow disk */

static void release(struct task *t, struct loop *l) {
    (void)t;
    loop_release(l);
}

static void on_ops_closed(void *arg) {
    (void)arg;
}

/* The last step: every loop has closed its part and no round is on its way, so nobody posts any more. Until then the
 * operations port answers: probes and scrapes are of interest while streams are sent away. */
static void maybe_end(struct broker *b) {
    if (b->open > 0 || b->scrapes > 0 || b->pulsing)
        return;
    for (size_t i = 1; i < b->started; i++) {
        b->members[i].release.run = release;
        loop_post(&b->loops[i], &b->members[i].release);
    }
    loop_release(&b->loops[0]);
    tc_ops_close(b->ops, on_ops_closed, NULL);
    tc_notify_close(&b->notify);
    uv_close((uv_handle_t *)&b->term, NULL);
    uv_close((uv_handle_t *)&b->interrupt, NULL);
}

static void on_closed_told(struct task *t, struct loop *l) {
    struct broker *b = TC_CONTAINER_OF(t, struct member, closed)->broker;
    (void)l;
    b->open--;
    maybe_end(b);
}

/* On the thread of the loop that has closed. */
static void on_loop_closed(void *arg) {
    struct member *m = arg;
    m->closed.run = on_closed_told;
    loop_post(&m->broker->loops[0], &m->closed);
}

static void answer_scrape(struct round *r) {
    struct scrape *s = (struct scrape *)(void *)r;
    struct tc_buf text = {0};
    metrics_say_build(s->sum);
    tc_metrics_render(s->sum, &text);
    tc_ops_scrape_done(s->answer, tc_buf_str(&text));
    tc_buf_fini(&text);
    tc_metrics_destroy(s->sum);
    s->broker->scrapes--;
    maybe_end(s->broker);
    free(s);
}

static void add_metrics(struct round *r, struct loop *l) {
    struct scrape *s = (struct scrape *)(void *)r;
    if (l->phase < LOOP_CLOSING) {
        metrics_collect(l->metrics, &l->hub, http_server_stats(l->server), &l->api, l->redis);
        tc_metrics_merge(s->sum, l->metrics);
    }
}

static void on_metrics(void *arg, struct tc_ops_scrape *answer) {
    struct broker *b = arg;
    struct scrape *s = b->open == 0 || b->scrapes >= MAX_SCRAPES ? NULL : calloc(1, sizeof *s);
    if (s != NULL)
        s->sum = metrics_create();
    if (s == NULL || s->sum == NULL) {
        free(s);
        tc_ops_scrape_done(answer, TC_STR("# not available now\n"));
        return;
    }
    s->broker = b;
    s->answer = answer;
    s->round = (struct round){.loops = b->loops, .count = b->started, .visit = add_metrics, .back = answer_scrape};
    b->scrapes++;
    round_start(&s->round);
}

/* Of every loop: a client comes to any of them. A Cluster without one of its masters is good enough: every broker
 * misses the same one, so sending clients away from all of them would only take what still works from them, too. */
static bool is_usable(struct broker *b) {
    bool usable = b->started == (size_t)b->opts->loops;
    for (size_t i = 0; i < b->started; i++)
        usable = usable && atomic_load(&b->loops[i].redis_usable);
    return usable;
}

static bool is_whole(struct broker *b) {
    bool whole = true;
    for (size_t i = 0; i < b->started; i++)
        whole = whole && atomic_load(&b->loops[i].redis_whole);
    return whole;
}

static int on_ready(void *arg, struct tc_buf *why) {
    struct broker *b = arg;
    if (b->stopping) {
        tc_buf_puts(why, "draining");
        return 0;
    }
    bool usable = is_usable(b);
    tc_buf_puts(why, !usable ? "redis is down" : is_whole(b) ? "ready" : "ready, but a part of redis is down");
    return usable;
}

static void tell_status(struct broker *b) {
    struct tc_buf why = {0};
    on_ready(b, &why);
    tc_buf_putc(&why, '\0');
    if (tc_buf_ok(&why))
        tc_notify_status(&b->notify, why.data);
    tc_buf_fini(&why);
}

static void feel(struct round *r, struct loop *l) {
    (void)r;
    (void)l;
}

/* Ready for a supervisor is a broker whose loops turn, with Redis or without: it waits for Redis by itself, and started
 * again it would not find it sooner. */
static void on_pulse(struct round *r) {
    struct broker *b = TC_CONTAINER_OF(r, struct broker, pulse);
    b->pulsing = false;
    if (!b->told_supervisor)
        tc_notify_ready(&b->notify);
    b->told_supervisor = true;
    tc_notify_alive(&b->notify);
    tc_ops_alive(b->ops);
    maybe_end(b);
}

/* One at a time: while a loop does not let it pass, who asks waits for the same one, and no memory is taken. */
static void start_pulse(struct broker *b) {
    if (b->pulsing)
        return;
    b->pulsing = true;
    b->pulse = (struct round){.loops = b->loops, .count = b->started, .visit = feel, .back = on_pulse};
    round_start(&b->pulse);
}

static void on_tick(void *arg) {
    struct broker *b = arg;
    tell_status(b);
    start_pulse(b);
}

/* Once every loop has closed its part, probes start nothing that the end would have to wait for. */
static void on_live(void *arg) {
    struct broker *b = arg;
    if (b->open == 0)
        tc_ops_alive(b->ops);
    else
        start_pulse(b);
}

/* On the thread of the loop whose Redis became usable; the last one finds all of them so. */
static void tell_ready(void *arg) {
    struct broker *b = ((struct member *)arg)->broker;
    if (!is_usable(b) || atomic_exchange(&b->told_ready, true))
        return;
    tc_log(TC_LOG_INFO, "ready", TC_LS("version", TC_VERSION), TC_LS("listen", b->listen), TC_LS("ops", b->ops_listen),
           TC_LI("loops", b->opts->loops));
}

static void stop_loop(struct task *t, struct loop *l) {
    (void)t;
    loop_stop(l);
}

static void on_signal(uv_signal_t *handle, int signum) {
    struct broker *b = handle->data;
    if (b->hurried)
        return;
    b->hurried = b->stopping; /* asked twice: no more waiting */
    tc_log(TC_LOG_INFO, "stopping", TC_LI("signal", signum));
    b->stopping = true;
    tc_notify_stopping(&b->notify,
                       (uint64_t)(b->opts->drain_delay + b->opts->drain_window + b->opts->drain) + STOP_SPARE_MS);
    tell_status(b);
    for (size_t i = 1; i < b->started; i++) {
        struct task *task = b->hurried ? &b->members[i].hurry : &b->members[i].stop;
        task->run = stop_loop;
        loop_post(&b->loops[i], task);
    }
    loop_stop(&b->loops[0]);
}

static void run_thread(void *arg) {
    struct loop *l = arg;
    uv_run(&l->uv, UV_RUN_DEFAULT);
}

static int start_loops(struct broker *b) {
    char host[256], listen[300];
    int port;
    snprintf(listen, sizeof listen, "%s", b->opts->listen);
    for (size_t i = 0; i < (size_t)b->opts->loops; i++) {
        int err = loop_init(&b->loops[i], b->opts, (unsigned)i, listen);
        if (err != 0)
            return err;
        b->started++;
        if (i > 0)
            continue;
        if (tc_address_split(listen, host, sizeof host, &port) != 0)
            return TC_EINVAL;
        /* The others share the port that the first was given. */
        snprintf(listen, sizeof listen, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host,
                 http_server_port(b->loops[0].server));
        snprintf(b->listen, sizeof b->listen, "%s", listen);
    }
    return 0;
}

static int start_ops(struct broker *b) {
    struct tc_ops_handlers h = {.ready = on_ready, .live = on_live, .metrics = on_metrics, .arg = b};
    char host[256];
    int port;
    int err = tc_ops_start(&b->ops, &b->loops[0].uv, b->opts->ops_listen, &h);
    if (err == 0)
        err = tc_address_split(b->opts->ops_listen, host, sizeof host, &port);
    if (err == 0)
        snprintf(b->ops_listen, sizeof b->ops_listen, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host,
                 tc_ops_port(b->ops));
    return err;
}

static int watch_signal(struct broker *b, uv_signal_t *handle, int signum) {
    handle->data = b;
    if (uv_signal_init(&b->loops[0].uv, handle) != 0 || uv_signal_start(handle, on_signal, signum) != 0)
        return TC_EIO;
    return 0;
}

static int start(struct broker *b) {
    int err = start_loops(b);
    if (err == 0)
        err = start_ops(b);
    if (err == 0)
        err = watch_signal(b, &b->term, SIGTERM);
    if (err == 0)
        err = watch_signal(b, &b->interrupt, SIGINT);
    if (err != 0)
        return err;
    tc_notify_start(&b->notify, &b->loops[0].uv, on_tick, b);
    b->open = b->started;
    for (size_t i = 0; i < b->started; i++) {
        b->members[i].broker = b;
        b->loops[i].on_redis = tell_ready;
        b->loops[i].on_closed = on_loop_closed;
        b->loops[i].arg = &b->members[i];
    }
    for (size_t i = 1; i < b->started; i++)
        if (uv_thread_create(&b->loops[i].thread, run_thread, &b->loops[i]) != 0)
            abort(); /* at startup there is nothing to save */
    return 0;
}

int broker_run(const struct broker_options *opts) {
    struct broker b = {.opts = opts};
    b.loops = calloc((size_t)opts->loops, sizeof *b.loops);
    b.members = calloc((size_t)opts->loops, sizeof *b.members);
    if (b.loops == NULL || b.members == NULL)
        abort();
    int err = start(&b);
    if (err != 0) {
        tc_log(TC_LOG_ERROR, "cannot start", TC_LERR(err), TC_LS("listen", opts->listen));
        return err; /* the process ends; nothing was served */
    }
    uv_run(&b.loops[0].uv, UV_RUN_DEFAULT);
    for (size_t i = 1; i < b.started; i++)
        uv_thread_join(&b.loops[i].thread);
    for (size_t i = 0; i < b.started; i++)
        loop_fini(&b.loops[i]);
    free(b.loops);
    free(b.members);
    tc_log0(TC_LOG_INFO, "stopped");
    return 0;
}
