/* The worker: puts its parts together and takes them apart. Loop thread; owned by main.
 *
 * Shutdown, step by step: the queue stops -> runs finish, or the grace time ends -> what still runs, or still watches
 * an ended log, is handed back -> queue -> operations port and provider -> Redis links -> on_stopped. */
#include "run/worker.h"

#include "base/clock.h"
#include "base/log.h"
#include "run/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- Shutdown */

static void on_last_closed(void *arg) {
    struct worker *w = arg;
    if (--w->closing > 0)
        return;
    tc_metrics_destroy(w->env.metrics);
    if (w->on_stopped)
        w->on_stopped(w->arg);
}

static void on_grace_closed(uv_handle_t *handle) {
    on_last_closed(handle->data);
}

static void close_links(struct worker *w) {
    tc_publisher_destroy(w->env.publisher);
    w->closing = 1 + (w->redis != NULL) + (w->blocking != NULL);
    if (w->redis)
        tc_redis_close(w->redis, on_last_closed, w);
    if (w->blocking)
        tc_redis_close(w->blocking, on_last_closed, w);
    if (w->backlog.redis) {
        w->closing++;
        backlog_close(&w->backlog, on_last_closed, w); /* waits for the link's answer, or its end */
    }
    uv_close((uv_handle_t *)&w->grace, on_grace_closed);
}

static void on_part_closed(void *arg) {
    struct worker *w = arg;
    if (--w->closing == 0)
        close_links(w);
}

static void close_parts(struct worker *w) {
    w->closing = 1 + (w->ops != NULL) + (w->env.provider != NULL);
    if (w->ops)
        tc_ops_close(w->ops, on_part_closed, w);
    if (w->env.provider)
        provider_close(w->env.provider, on_part_closed, w);
    on_part_closed(w);
}

static void on_jobs_closed(void *arg) {
    close_parts(arg);
}

static void maybe_close(struct worker *w) {
    if (w->phase != WORKER_ENDING || !tc_list_empty(&w->runs))
        return;
    w->phase = WORKER_CLOSING;
    jobs_close(w->env.jobs, on_jobs_closed, w);
}

static void end_runs(struct worker *w) {
    struct tc_list *node = w->runs.next;
    w->phase = WORKER_ENDING;
    uv_timer_stop(&w->grace);
    while (node != &w->runs) {
        struct job_run *run = TC_CONTAINER_OF(node, struct job_run, node);
        node = node->next;
        job_run_end(run, JOB_HAND_BACK);
    }
    maybe_close(w);
}

static void on_grace(uv_timer_t *timer) {
    struct worker *w = timer->data;
    if (w->busy_slots > 0)
        tc_log(TC_LOG_WARN, "grace time is over, handing back", TC_LI("generations", w->busy_slots));
    end_runs(w);
}

void worker_stop(struct worker *w) {
    if (w->phase >= WORKER_ENDING)
        return;
    jobs_stop(w->env.jobs);
    if (w->phase == WORKER_DRAINING || w->busy_slots == 0 || w->opts->grace == 0) {
        end_runs(w);
        return;
    }
    w->phase = WORKER_DRAINING;
    tc_log(TC_LOG_INFO, "draining", TC_LI("generations", w->busy_slots), TC_LI("grace_ms", w->opts->grace));
    uv_timer_start(&w->grace, on_grace, (uint64_t)w->opts->grace, 0);
}

/* ---- Runs */

static void on_slot_free(void *arg, struct job_run *run) {
    struct worker *w = arg;
    (void)run;
    w->busy_slots--;
    if (w->phase == WORKER_DRAINING && w->busy_slots == 0)
        uv_timer_start(&w->grace, on_grace, 0, 0); /* not from here: the run is in the middle of its own step */
    else if (w->phase == WORKER_RUNNING)
        jobs_kick(w->env.jobs);
}

static void on_gone(void *arg, struct job_run *run) {
    struct worker *w = arg;
    tc_list_remove(&run->node);
    free(run);
    maybe_close(w);
}

static size_t free_slots(void *arg) {
    const struct worker *w = arg;
    size_t slots = (size_t)w->opts->slots;
    return slots > w->busy_slots ? slots - w->busy_slots : 0;
}

static bool is_running(const struct worker *w, const char *job) {
    for (struct tc_list *node = w->runs.next; node != &w->runs; node = node->next)
        if (strcmp(TC_CONTAINER_OF(node, struct job_run, node)->job, job) == 0)
            return true;
    return false;
}

static void on_job(void *arg, const char *job, const char *gen, const struct tc_trace *trace, uint64_t deliveries) {
    struct worker *w = arg;
    if (is_running(w, job))
        return; /* our own lease ran out while Redis was away: looked at again when it is idle */
    /* Another job of the same generation is looked at: which of them is meta.job, and which a duplicate to be dropped,
     * only meta says. */
    struct job_run *run = calloc(1, sizeof(*run));
    if (!run)
        return;
    tc_metrics_add(w->env.metrics, METRIC_JOBS_TAKEN, deliveries > 1 ? "claimed" : "new", NULL, 1);
    tc_list_add_tail(&w->runs, &run->node);
    w->busy_slots++;
    job_run_start(run, &w->env, job, gen, trace, deliveries);
}

static void on_ready(void *arg) {
    struct worker *w = arg;
    char ops[80], host[64];
    int port = tc_ops_port(w->ops), ignored;
    if (w->told_ready)
        return;
    w->told_ready = true;
    if (tc_address_split(w->opts->ops_listen, host, sizeof(host), &ignored) < 0 || host[0] == '\0')
        snprintf(host, sizeof(host), "0.0.0.0");
    snprintf(ops, sizeof(ops), strchr(host, ':') ? "[%s]:%d" : "%s:%d", host, port);
    tc_log(TC_LOG_INFO, "ready", TC_LS("ops", ops), TC_LS("name", w->name), TC_LS("provider", w->opts->provider),
           TC_LI("slots", w->opts->slots));
}

static void on_garbage(void *arg, const char *job) {
    struct worker *w = arg;
    (void)job;
    tc_metrics_add(w->env.metrics, METRIC_JOBS_DROPPED, "no generation", NULL, 1);
}

/* ---- Operations */

int worker_is_ready(void *arg, struct tc_buf *why) {
    struct worker *w = arg;
    bool up = tc_redis_is_usable(w->redis);
    tc_buf_puts(why, w->phase != WORKER_RUNNING ? "stopping" : up ? "ready" : "no Redis");
    return w->phase == WORKER_RUNNING && up;
}

static void gather_states(struct worker *w) {
    static const char *const names[] = {"opening", "running", "settling"};
    double counts[3] = {0};
    for (struct tc_list *node = w->runs.next; node != &w->runs; node = node->next) {
        const char *name = job_state_name(TC_CONTAINER_OF(node, struct job_run, node)->state);
        for (size_t i = 0; i < 3; i++)
            counts[i] += strcmp(name, names[i]) == 0;
    }
    for (size_t i = 0; i < 3; i++)
        tc_metrics_set(w->env.metrics, METRIC_GENERATIONS, names[i], NULL, counts[i]);
}

static void metrics(void *arg, struct tc_ops_scrape *scrape) {
    struct worker *w = arg;
    struct tc_buf text;
    metrics_gather_publisher(w->env.metrics, tc_publisher_stats(w->env.publisher));
    metrics_gather_redis(w->env.metrics, tc_redis_stats(w->redis), tc_redis_is_up(w->redis));
    metrics_gather_backlog(w->env.metrics, &w->backlog);
    gather_states(w);
    tc_metrics_set(w->env.metrics, METRIC_SLOTS, NULL, NULL, (double)w->opts->slots);
    tc_metrics_set(w->env.metrics, METRIC_SLOTS_FREE, NULL, NULL, (double)free_slots(w));
    tc_buf_init(&text, 0);
    tc_metrics_render(w->env.metrics, &text);
    tc_ops_scrape_done(scrape, tc_buf_str(&text));
    tc_buf_fini(&text);
}

/* ---- Start */

static void make_name(struct worker *w) {
    unsigned char raw[4];
    char host[40] = "";
    if (w->opts->name[0]) {
        snprintf(w->name, sizeof(w->name), "%s", w->opts->name);
        return;
    }
    if (gethostname(host, sizeof(host) - 1) < 0)
        snprintf(host, sizeof(host), "worker");
    tc_random(raw, sizeof(raw));
    snprintf(w->name, sizeof(w->name), "%s-%02x%02x%02x%02x", host, raw[0], raw[1], raw[2], raw[3]);
}

static int start_links(struct worker *w) {
    const struct worker_options *o = w->opts;
    struct tc_redis_options r = {.url = o->redis,
                                 .password_file = o->redis_password_file,
                                 .ca_file = o->redis_ca_file,
                                 .cert_file = o->redis_cert_file,
                                 .key_file = o->redis_key_file,
                                 .tls_insecure = o->redis_tls_insecure,
                                 .client_name = "tokencast-worker",
                                 .pubsub = true};
    int rc = tc_redis_create(&w->redis, w->loop, &r);
    if (rc < 0)
        return rc;
    w->env.redis = w->redis;
    r.pubsub = false;
    return tc_redis_create(&w->blocking, w->loop, &r);
}

static int start_publisher(struct worker *w) {
    const struct worker_options *o = w->opts;
    const struct tc_publisher_options p = {.prefix = o->prefix,
                                           .retention_ms = o->retention,
                                           .flush_tokens = o->flush_tokens,
                                           .flush_ms = o->flush_interval,
                                           .window_bytes = (size_t)o->window_bytes,
                                           .buffer_bytes = (size_t)o->buffer_bytes,
                                           .max_log_bytes = (size_t)o->max_log_bytes,
                                           .patience_ms = o->patience,
                                           .owner = w->name};
    return tc_publisher_create(&w->env.publisher, w->loop, w->redis, &p);
}

static int start_provider(struct worker *w) {
    const struct worker_options *o = w->opts;
    const struct provider_options p = {.kind = o->provider,
                                       .upstream = o->upstream,
                                       .api_key_file = o->api_key_file,
                                       .model = o->model,
                                       .going_on = o->going_on,
                                       .replay_file = o->replay_file,
                                       .replay_rate = (double)o->replay_rate,
                                       .connect_timeout_ms = o->connect_timeout,
                                       .first_token_timeout_ms = o->first_token_timeout,
                                       .idle_timeout_ms = o->idle_timeout,
                                       .max_retries = o->max_retries,
                                       .backoff_min_ms = 500,
                                       .backoff_max_ms = 8000};
    return provider_create(&w->env.provider, w->loop, &p);
}

static int start_jobs(struct worker *w) {
    static const struct jobs_callbacks cbs = {
        .free_slots = free_slots, .on_job = on_job, .on_ready = on_ready, .on_garbage = on_garbage};
    const struct jobs_options o = {
        .prefix = w->opts->prefix, .queue = w->opts->queue, .consumer = w->name, .lease_ms = w->opts->lease_ms};
    return jobs_create(&w->env.jobs, w->loop, w->blocking, w->redis, &o, &cbs, w);
}

int worker_start(struct worker *w, uv_loop_t *loop, const struct worker_options *opts, void (*on_stopped)(void *arg),
                 void *arg) {
    const struct tc_ops_handlers handlers = {.ready = worker_is_ready, .metrics = metrics, .arg = w};
    w->loop = loop;
    w->opts = opts;
    w->arg = arg;
    w->env.loop = loop;
    w->env.opts = opts;
    w->env.on_slot_free = on_slot_free;
    w->env.on_gone = on_gone;
    w->env.arg = w;
    tc_list_init(&w->runs);
    uv_timer_init(loop, &w->grace);
    w->grace.data = w;
    make_name(w);
    w->env.metrics = metrics_create();
    int rc = w->env.metrics ? start_links(w) : TC_ENOMEM;
    if (rc == 0)
        rc = start_publisher(w);
    if (rc == 0)
        rc = start_provider(w);
    if (rc == 0)
        rc = tc_ops_start(&w->ops, loop, opts->ops_listen, &handlers);
    if (rc == 0)
        rc = start_jobs(w);
    if (rc < 0) {
        tc_log(TC_LOG_ERROR, "cannot start", TC_LERR(rc));
        w->phase = WORKER_CLOSING;
        close_parts(w);
        return rc;
    }
    backlog_start(&w->backlog, loop, w->redis, opts->prefix, opts->queue);
    w->on_stopped = on_stopped;
    return 0;
}
