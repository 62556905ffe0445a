/* The worker's metrics table. Durations are observed in seconds. */
#include "run/metrics.h"

#define P "tokencast_worker_"

static const struct tc_metric_desc table[METRICS_COUNT] = {
    [METRIC_TTFT] = {.name = P "time_to_first_token_seconds",
                     .type = TC_HISTOGRAM,
                     .help = "From the creation of a generation to its first token",
                     .label = "model",
                     .buckets = tc_buckets_ttft},
    [METRIC_PER_TOKEN] = {.name = P "time_per_output_token_seconds",
                          .type = TC_HISTOGRAM,
                          .help = "Mean time between the output tokens of a generation after its first",
                          .label = "model",
                          .buckets = tc_buckets_per_token},
    [METRIC_OUTPUT_TOKENS] = {.name = P "output_tokens_total",
                              .type = TC_COUNTER,
                              .help = "Output tokens of finished generations",
                              .label = "model"},
    [METRIC_GENERATIONS] = {.name = P "generations",
                            .type = TC_GAUGE,
                            .help = "Generations of this worker: opening, running, settling (ended, log watched)",
                            .label = "state"},
    [METRIC_FINISHED] = {.name = P "generations_finished_total",
                         .type = TC_COUNTER,
                         .help = "Generations ended by this worker",
                         .label = "reason"},
    [METRIC_CANCELS] = {.name = P "cancels_total",
                        .type = TC_COUNTER,
                        .help = "Generations stopped by a client, or abandoned by all viewers",
                        .label = "by"},
    [METRIC_UPSTREAM_ERRORS] = {.name = P "upstream_errors_total",
                                .type = TC_COUNTER,
                                .help = "Generations that the model server failed",
                                .label = "code"},
    [METRIC_UPSTREAM_RETRIES] = {.name = P "upstream_retries_total",
                                 .type = TC_COUNTER,
                                 .help = "Repeated requests to the model server"},
    [METRIC_JOBS_TAKEN] = {.name = P "jobs_taken_total",
                           .type = TC_COUNTER,
                           .help = "Jobs taken: new ones, and ones claimed from silent workers",
                           .label = "how"},
    [METRIC_JOBS_DROPPED] = {.name = P "jobs_dropped_total",
                             .type = TC_COUNTER,
                             .help = "Jobs acknowledged without a generation",
                             .label = "why"},
    [METRIC_JOBS_HANDED_BACK] = {.name = P "jobs_handed_back_total",
                                 .type = TC_COUNTER,
                                 .help = "Jobs given to other workers at shutdown"},
    [METRIC_TAKEOVERS] = {.name = P "takeovers_total",
                          .type = TC_COUNTER,
                          .help = "Generations begun by another attempt: text gone on from, or said anew",
                          .label = "mode"},
    [METRIC_APPENDS] = {.name = P "appends_total", .type = TC_COUNTER, .help = "Entries that Redis acknowledged"},
    [METRIC_ANNOUNCEMENTS] = {.name = P "announcements_total", .type = TC_COUNTER, .help = "Entries announced"},
    [METRIC_FENCED] = {.name = P "fenced_total",
                       .type = TC_COUNTER,
                       .help = "Generations lost to a later attempt of another worker"},
    [METRIC_REFUSED] = {.name = P "refused_total",
                        .type = TC_COUNTER,
                        .help = "Writes that Redis could not take at that time (memory, loading, read-only)"},
    [METRIC_REPEATED] = {.name = P "repeated_total",
                         .type = TC_COUNTER,
                         .help = "Acknowledged entries that Redis lost and that were written again"},
    [METRIC_REDIS_RECONNECTS] = {.name = P "redis_reconnects_total",
                                 .type = TC_COUNTER,
                                 .help = "Connections to Redis that were lost and are made again"},
    [METRIC_REDIS_COMMANDS] = {.name = P "redis_commands_total", .type = TC_COUNTER, .help = "Commands sent"},
    [METRIC_REDIS_TIMEOUTS] = {.name = P "redis_timeouts_total",
                               .type = TC_COUNTER,
                               .help = "Links given up because Redis did not answer"},
    [METRIC_REDIS_UP] = {.name = P "redis_up", .type = TC_GAUGE, .help = "1 when Redis can be used"},
    [METRIC_SLOTS] = {.name = P "slots", .type = TC_GAUGE, .help = "Generations this worker runs at most"},
    [METRIC_SLOTS_FREE] = {.name = P "slots_free", .type = TC_GAUGE, .help = "Slots without a generation"},
    [METRIC_QUEUE] = {.name = P "queue_jobs",
                      .type = TC_GAUGE,
                      .help = "Jobs in the queue, as Redis counts them for all its workers: waiting for a worker, or "
                              "taken and not acknowledged",
                      .label = "queue",
                      .label2 = "state"},
    [METRIC_BUILD] = {.name = P "build_info", .type = TC_GAUGE, .help = "Always 1", .label = "version"},
};

/* There from the start with 0: Prometheus does not count a series' growth up to its first sample. */
static const struct {
    enum worker_metric id;
    const char *label;
} born[] = {
    {METRIC_FINISHED, "stop"},     {METRIC_FINISHED, "error"},     {METRIC_FINISHED, "cancelled"},
    {METRIC_JOBS_TAKEN, "new"},    {METRIC_JOBS_TAKEN, "claimed"}, {METRIC_TAKEOVERS, "continue"},
    {METRIC_TAKEOVERS, "restart"},
};

struct tc_metrics *metrics_create(void) {
    struct tc_metrics *m = tc_metrics_create(table, METRICS_COUNT);
    if (!m)
        return NULL;
    tc_metrics_set(m, METRIC_BUILD, TC_VERSION, NULL, 1);
    for (size_t i = 0; i < sizeof(born) / sizeof(born[0]); i++)
        (void)tc_metrics_cell(m, born[i].id, born[i].label, NULL);
    return m;
}

static void set(struct tc_metrics *m, enum worker_metric id, uint64_t v) {
    tc_metrics_set(m, id, NULL, NULL, (double)v);
}

void metrics_gather_publisher(struct tc_metrics *m, const struct tc_publisher_stats *s) {
    set(m, METRIC_APPENDS, s->appends);
    set(m, METRIC_ANNOUNCEMENTS, s->announces);
    set(m, METRIC_FENCED, s->fenced);
    set(m, METRIC_REFUSED, s->refused);
    set(m, METRIC_REPEATED, s->repeated);
}

/* The queue goes by its key, which is what an operator asks Redis for. */
void metrics_gather_backlog(struct tc_metrics *m, const struct backlog *b) {
    tc_metrics_clear(m, METRIC_QUEUE);
    if (b->counts.waiting >= 0)
        tc_metrics_set(m, METRIC_QUEUE, b->key, "waiting", (double)b->counts.waiting);
    if (b->counts.taken >= 0)
        tc_metrics_set(m, METRIC_QUEUE, b->key, "taken", (double)b->counts.taken);
}

void metrics_gather_redis(struct tc_metrics *m, const struct tc_redis_stats *s, bool up) {
    set(m, METRIC_REDIS_RECONNECTS, s->losses);
    set(m, METRIC_REDIS_COMMANDS, s->commands);
    set(m, METRIC_REDIS_TIMEOUTS, s->timeouts);
    set(m, METRIC_REDIS_UP, up);
}
