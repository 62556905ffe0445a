/* The broker's options: one table drives flags, environment, ranges, --help and the check of the documents. */
#ifndef BROKER_OPTIONS_H
#define BROKER_OPTIONS_H

#include "base/option.h"

#include <stdbool.h>

struct broker_options {
    const char *listen, *ops_listen;
    int64_t loops;
    bool allow_anonymous, page;
    const char *io;
    const char *cors_origins, *id_secret_file;
    const char *redis, *redis_password_file, *redis_ca_file, *redis_cert_file, *redis_key_file;
    bool redis_tls_insecure;
    const char *prefix, *queue;
    int64_t lag_events, lag_bytes, heartbeat, linger, lease_ms, sweep, retention;
    int64_t max_connections, max_per_address, max_generations, max_header_bytes, max_body_bytes, max_snapshot_bytes;
    int64_t header_timeout, body_timeout, keepalive, user_timeout, max_wait;
    int64_t drain_delay, drain_window, drain, max_connection_age, max_memory;
    const char *log_format, *log_level;
};

extern const struct tc_option broker_option_table[];

/* What one row cannot say: who may listen where, names. One sentence in err on TC_EINVAL. */
TC_MUST_USE int broker_options_check(const struct broker_options *o, struct tc_buf *err);

#endif
