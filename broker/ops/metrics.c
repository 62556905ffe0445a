/* The broker's metrics table. */
#include "ops/metrics.h"

#include "feed/weigh.h"

#define P "tokencast_broker_"

static const double latency_buckets[] = {0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025,
                                         0.05,   0.1,    0.25,   0.5,   1,     2.5,   5,    0};

enum {
    STREAMS,
    STREAMS_OPENED,
    STREAMS_CLOSED,
    LATENCY,
    EVENTS,
    ANNOUNCED,
    LOG_READS,
    REPAIRED,
    DECODE_ERRORS,
    SENDS,
    SENT_BYTES,
    BLOCKED,
    GAPS,
    DROPPED,
    OVERFLOWS,
    NO_MEMORY,
    BYES,
    STALLS,
    REQUEUED,
    FEEDS,
    CHANNELS,
    MEMORY,
    BEHIND,
    LAG,
    CONNECTIONS,
    ACCEPTED,
    REFUSED,
    REQUESTS,
    BAD_REQUESTS,
    TIMEOUTS,
    RESPONSES,
    STARTED,
    CANCELS,
    SNAPSHOTS,
    POLLS,
    REDIS_UP,
    REDIS_CONNECTS,
    REDIS_LOSSES,
    REDIS_COMMANDS,
    REDIS_TIMEOUTS,
    LOOPS,
    BUILD,
    METRICS
};

static const struct tc_metric_desc table[METRICS] = {
    [STREAMS] = {.name = P "streams", .type = TC_GAUGE, .help = "Streams that are open"},
    [STREAMS_OPENED] = {.name = P "streams_opened_total", .type = TC_COUNTER, .help = "Streams opened"},
    [STREAMS_CLOSED] = {.name = P "streams_closed_total",
                        .type = TC_COUNTER,
                        .help = "Streams closed: complete, or left by their client or cut off",
                        .label = "how"},
    [LATENCY] = {.name = P "log_to_socket_seconds",
                 .type = TC_HISTOGRAM,
                 .help = "From the worker's time of an event to its being sent, once a flush",
                 .buckets = latency_buckets},
    [EVENTS] = {.name = P "events_total",
                .type = TC_COUNTER,
                .help = "Events taken from logs, once a generation and loop"},
    [ANNOUNCED] = {.name = P "events_announced_total",
                   .type = TC_COUNTER,
                   .help = "Events that came with their announcement, without reading the log"},
    [LOG_READS] = {.name = P "log_reads_total", .type = TC_COUNTER, .help = "Reads of logs"},
    [REPAIRED] = {.name = P "log_reads_found_total",
                  .type = TC_COUNTER,
                  .help = "Reads that found events not announced"},
    [DECODE_ERRORS] = {.name = P "malformed_entries_total", .type = TC_COUNTER, .help = "Entries skipped as garbage"},
    [SENDS] = {.name = P "sends_total", .type = TC_COUNTER, .help = "System calls that sent stream bytes"},
    [SENT_BYTES] = {.name = P "sent_bytes_total", .type = TC_COUNTER, .help = "Stream bytes sent"},
    [BLOCKED] = {.name = P "blocked_sends_total",
                 .type = TC_COUNTER,
                 .help = "Sends that the socket took only in part"},
    [GAPS] = {.name = P "gaps_total", .type = TC_COUNTER, .help = "Gaps told to subscribers", .label = "reason"},
    [DROPPED] = {.name = P "dropped_events_total", .type = TC_COUNTER, .help = "Events dropped for slow subscribers"},
    [OVERFLOWS] = {.name = P "overflows_total",
                   .type = TC_COUNTER,
                   .help = "Subscribers beyond their bound",
                   .label = "policy"},
    [NO_MEMORY] = {.name = P "out_of_memory_total", .type = TC_COUNTER, .help = "Streams given up for want of memory"},
    [BYES] = {.name = P "byes_total", .type = TC_COUNTER, .help = "Streams asked to come back", .label = "reason"},
    [STALLS] = {.name = P "stalls_total", .type = TC_COUNTER, .help = "Generations found without a live worker"},
    [REQUEUED] = {.name = P "jobs_requeued_total",
                  .type = TC_COUNTER,
                  .help = "Jobs that the queue had lost and that were queued again"},
    [FEEDS] = {.name = P "generations", .type = TC_GAUGE, .help = "Generations followed"},
    [CHANNELS] = {.name = P "channels", .type = TC_GAUGE, .help = "Channels followed"},
    [MEMORY] = {.name = P "memory_bytes",
                .type = TC_GAUGE,
                .help = "Bytes kept for subscribers: shared segments, histories for late joiners, private buffers",
                .label = "kind"},
    [BEHIND] = {.name = P "streams_behind",
                .type = TC_GAUGE,
                .help = "Streams that catch up with a log, or whose socket has not taken everything",
                .label = "why"},
    [LAG] = {.name = P "lag_bytes",
             .type = TC_GAUGE,
             .help = "The most that one live stream has not taken, added up over the loops"},
    [CONNECTIONS] = {.name = P "connections", .type = TC_GAUGE, .help = "Client connections"},
    [ACCEPTED] = {.name = P "connections_accepted_total", .type = TC_COUNTER, .help = "Client connections accepted"},
    [REFUSED] = {.name = P "connections_refused_total",
                 .type = TC_COUNTER,
                 .help = "Connections beyond a bound",
                 .label = "why"},
    [REQUESTS] = {.name = P "requests_total", .type = TC_COUNTER, .help = "Requests served"},
    [BAD_REQUESTS] = {.name = P "bad_requests_total",
                      .type = TC_COUNTER,
                      .help = "Requests that were not HTTP or too large"},
    [TIMEOUTS] = {.name = P "request_timeouts_total",
                  .type = TC_COUNTER,
                  .help = "Requests that took too long to come"},
    [RESPONSES] = {.name = P "error_responses_total",
                   .type = TC_COUNTER,
                   .help = "Answers of 400 and above",
                   .label = "class"},
    [STARTED] = {.name = P "generations_started_total",
                 .type = TC_COUNTER,
                 .help = "POSTs that started a generation",
                 .label = "how"},
    [CANCELS] = {.name = P "cancels_total", .type = TC_COUNTER, .help = "Cancels accepted"},
    [SNAPSHOTS] = {.name = P "snapshots_total", .type = TC_COUNTER, .help = "Snapshots served"},
    [POLLS] = {.name = P "long_polls_total", .type = TC_COUNTER, .help = "Long polls served"},
    [REDIS_UP] = {.name = P "redis_up",
                  .type = TC_GAUGE,
                  .help = "Loops whose links to Redis, each of them, can be used"},
    [REDIS_CONNECTS] = {.name = P "redis_connects_total", .type = TC_COUNTER, .help = "Connections made to Redis"},
    [REDIS_LOSSES] = {.name = P "redis_losses_total", .type = TC_COUNTER, .help = "Connections to Redis lost"},
    [REDIS_COMMANDS] = {.name = P "redis_commands_total", .type = TC_COUNTER, .help = "Commands sent"},
    [REDIS_TIMEOUTS] = {.name = P "redis_timeouts_total",
                        .type = TC_COUNTER,
                        .help = "Links given up because Redis did not answer"},
    [LOOPS] = {.name = P "loops", .type = TC_GAUGE, .help = "Event loops that serve"},
    [BUILD] = {.name = P "build_info", .type = TC_GAUGE, .help = "Always 1", .label = "version"},
};

struct tc_metrics *metrics_create(void) {
    return tc_metrics_create(table, METRICS);
}

void metrics_say_build(struct tc_metrics *sum) {
    tc_metrics_set(sum, BUILD, TC_VERSION, NULL, 1);
}

void metrics_latency(struct tc_metrics *m, int64_t us) {
    tc_metrics_observe(m, LATENCY, NULL, NULL, us > 0 ? (double)us * 1e-6 : 0);
}

static void set(struct tc_metrics *m, size_t id, const char *label, uint64_t v) {
    tc_metrics_set(m, id, label, NULL, (double)v);
}

static void collect_hub(struct tc_metrics *m, const struct hub_stats *s) {
    set(m, STREAMS, NULL, s->streams);
    set(m, STREAMS_OPENED, NULL, s->streams_opened);
    set(m, STREAMS_CLOSED, "complete", s->streams_ended);
    set(m, STREAMS_CLOSED, "left", s->streams_gone);
    set(m, EVENTS, NULL, s->events);
    set(m, ANNOUNCED, NULL, s->announced);
    set(m, LOG_READS, NULL, s->log_reads);
    set(m, REPAIRED, NULL, s->sweeps_found);
    set(m, DECODE_ERRORS, NULL, s->decode_errors);
    set(m, SENDS, NULL, s->sends);
    set(m, SENT_BYTES, NULL, s->bytes);
    set(m, BLOCKED, NULL, s->blocked);
    set(m, GAPS, "overflow", s->gaps_overflow);
    set(m, GAPS, "trimmed", s->gaps_trimmed);
    set(m, GAPS, "lost", s->gaps_lost);
    set(m, DROPPED, NULL, s->dropped_events);
    set(m, OVERFLOWS, "drop", s->overflow_drop);
    set(m, OVERFLOWS, "merge", s->overflow_merge);
    set(m, OVERFLOWS, "close", s->overflow_close);
    set(m, NO_MEMORY, NULL, s->no_memory);
    set(m, BYES, "drain", s->byes_drain);
    set(m, BYES, "age", s->byes_age);
    set(m, BYES, "unavailable", s->byes_unavailable);
    set(m, STALLS, NULL, s->stalls);
    set(m, REQUEUED, NULL, s->requeued);
    set(m, FEEDS, NULL, s->feeds);
    set(m, CHANNELS, NULL, s->channels);
}

static void collect_weight(struct tc_metrics *m, const struct hub *hub) {
    struct hub_weight w;
    hub_weigh(hub, &w);
    set(m, MEMORY, "segments", w.segment_bytes);
    set(m, MEMORY, "histories", w.history_bytes);
    set(m, MEMORY, "private", w.private_bytes);
    set(m, BEHIND, "catch-up", w.catching_up);
    set(m, BEHIND, "socket", w.behind);
    set(m, LAG, NULL, w.lag_bytes);
}

void metrics_collect(struct tc_metrics *m, const struct hub *hub, const struct http_stats *http, const struct api *api,
                     const struct tc_redis *redis) {
    const struct tc_redis_stats *r = tc_redis_stats(redis);
    collect_hub(m, &hub->stats);
    collect_weight(m, hub);
    set(m, CONNECTIONS, NULL, http->connections);
    set(m, ACCEPTED, NULL, http->accepted);
    set(m, REFUSED, "full", http->refused_full);
    set(m, REFUSED, "address", http->refused_address);
    set(m, REFUSED, "descriptors", http->accept_paused + http->refused_descriptors);
    set(m, REFUSED, "memory", http->refused_memory);
    set(m, REQUESTS, NULL, http->requests);
    set(m, BAD_REQUESTS, NULL, http->bad_requests);
    set(m, TIMEOUTS, NULL, http->timeouts);
    set(m, RESPONSES, "4xx", http->responses_4xx);
    set(m, RESPONSES, "5xx", http->responses_5xx);
    set(m, STARTED, "new", api->stats.started);
    set(m, STARTED, "repeat", api->stats.repeated);
    set(m, CANCELS, NULL, api->stats.cancels);
    set(m, SNAPSHOTS, NULL, api->stats.snapshots);
    set(m, POLLS, NULL, api->stats.polls);
    set(m, REDIS_UP, NULL, tc_redis_is_up(redis));
    set(m, REDIS_CONNECTS, NULL, r->connects);
    set(m, REDIS_LOSSES, NULL, r->losses);
    set(m, REDIS_COMMANDS, NULL, r->commands);
    set(m, REDIS_TIMEOUTS, NULL, r->timeouts);
    set(m, LOOPS, NULL, 1);
}
