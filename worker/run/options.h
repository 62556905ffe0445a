/* What a worker can be told: one table drives flags, environment, ranges and --help. Main thread, at startup. */
#ifndef WORKER_RUN_OPTIONS_H
#define WORKER_RUN_OPTIONS_H

#include "base/attr.h"
#include "base/option.h"

#include <stdbool.h>
#include <stdint.h>

struct worker_options {
    const char *redis, *redis_password_file, *redis_ca_file, *redis_cert_file, *redis_key_file;
    bool redis_tls_insecure;
    const char *prefix, *queue, *name;

    const char *provider, *upstream, *api_key_file, *model, *going_on, *replay_file;
    int64_t replay_rate;                                        /* tokens per second */
    int64_t connect_timeout, first_token_timeout, idle_timeout; /* milliseconds, as all durations */
    int64_t max_retries;

    int64_t slots, lease_ms, grace, settle, max_attempts;
    int64_t flush_tokens, flush_interval, retention, patience;
    int64_t window_bytes, buffer_bytes, max_log_bytes;

    const char *ops_listen, *log_format, *log_level;
};

extern const struct tc_option worker_option_table[];

/* What the table cannot say: options that need each other, names that end up in keys. On error one sentence in `err`
 * and TC_EINVAL. */
TC_MUST_USE int worker_options_check(const struct worker_options *o, struct tc_buf *err);

#endif
