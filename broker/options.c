/* The broker's options. */
#include "options.h"

#include "access/cors.h"
#include "tokencast/error.h"
#include "wire/keys.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(struct broker_options, field)
#define HOUR_MS   3600000LL
#define MIB       (1024LL * 1024)

const struct tc_option broker_option_table[] = {
    {"listen", TC_OPT_ADDRESS, AT(listen), "127.0.0.1:8080", 0, 0, NULL,
     "Address for clients; beyond loopback only with --allow-anonymous"},
    {"allow-anonymous", TC_OPT_BOOL, AT(allow_anonymous), "false", 0, 0, NULL,
     "Serve everybody who reaches the address, whatever it is: there is no access control yet"},
    {"loops", TC_OPT_INT, AT(loops), "0", 0, 256, NULL, "Event loops, a thread each; 0: one a core"},
    {"io", TC_OPT_CHOICE, AT(io), "send", 0, 0, "send|uring",
     "How streams are sent: a call for each, or many in one through io_uring where the kernel lets us"},
    {"page", TC_OPT_BOOL, AT(page), "true", 0, 0, NULL, "Serve the page at / and its client module at /client.js"},
    {"cors-origins", TC_OPT_STRING, AT(cors_origins), NULL, 0, 0, NULL,
     "Origins whose pages may read answers, separated by commas, or *; default: none"},
    {"id-secret-file", TC_OPT_STRING, AT(id_secret_file), NULL, 0, 0, NULL,
     "File with at least 32 bytes that ids are derived from Idempotency-Key with; default: kept in Redis"},

    {"redis", TC_OPT_STRING, AT(redis), "redis://127.0.0.1:6379", 0, 0, NULL,
     "Redis: redis://, rediss:// (TLS), unix://, redis+sentinel:// or redis+cluster:// URL"},
    {"redis-password-file", TC_OPT_STRING, AT(redis_password_file), NULL, 0, 0, NULL,
     "File with the Redis password; wins over the URL"},
    {"redis-ca-file", TC_OPT_STRING, AT(redis_ca_file), NULL, 0, 0, NULL,
     "PEM file that verifies the Redis server; default: the system's"},
    {"redis-cert-file", TC_OPT_STRING, AT(redis_cert_file), NULL, 0, 0, NULL, "PEM client certificate for Redis"},
    {"redis-key-file", TC_OPT_STRING, AT(redis_key_file), NULL, 0, 0, NULL, "PEM key of the client certificate"},
    {"redis-tls-insecure", TC_OPT_BOOL, AT(redis_tls_insecure), "false", 0, 0, NULL,
     "Do not verify the Redis server's certificate"},
    {"prefix", TC_OPT_STRING, AT(prefix), "tc:", 0, 0, NULL, "Prefix of every key in Redis"},
    {"queue", TC_OPT_STRING, AT(queue), "", 0, 0, NULL, "Name of the job queue; empty for the default queue"},
    {"retention", TC_OPT_DURATION, AT(retention), "1h", 1000, 24 * 365 * HOUR_MS, NULL,
     "A log nobody writes expires after this; what is known of it, after 24 times this"},

    {"lag-events", TC_OPT_INT, AT(lag_events), "1024", 16, 1000000, NULL,
     "Events a subscriber may be behind before its overflow policy applies"},
    {"lag-bytes", TC_OPT_SIZE, AT(lag_bytes), "256k", 16384, 1024 * MIB, NULL, "The same in bytes; whichever is first"},
    {"heartbeat", TC_OPT_DURATION, AT(heartbeat), "15s", 100, HOUR_MS, NULL, "A quiet stream shows life this often"},
    {"linger", TC_OPT_DURATION, AT(linger), "5s", 0, HOUR_MS, NULL,
     "A generation without subscribers is followed this much longer"},
    {"lease-ms", TC_OPT_DURATION, AT(lease_ms), "10s", 300, HOUR_MS, NULL,
     "Lease of viewers, as the workers' --lease-ms"},
    {"sweep", TC_OPT_DURATION, AT(sweep), "1s", 50, HOUR_MS, NULL,
     "The log of a quiet generation is looked at this often"},

    {"max-connections", TC_OPT_INT, AT(max_connections), "100000", 1, 10000000, NULL, "Connections a loop"},
    {"max-per-address", TC_OPT_INT, AT(max_per_address), "0", 0, 10000000, NULL,
     "Connections from one address and loop; 0: no bound (behind a proxy all come from one)"},
    {"max-generations", TC_OPT_INT, AT(max_generations), "50000", 1, 10000000, NULL, "Generations followed a loop"},
    {"max-memory", TC_OPT_SIZE, AT(max_memory), "0", 0, 1024 * 1024 * MIB, NULL,
     "Resident memory of the process above which no more connections are taken; 0: no bound"},
    {"max-header-bytes", TC_OPT_SIZE, AT(max_header_bytes), "16k", 1024, MIB, NULL, "Request line and headers"},
    {"max-body-bytes", TC_OPT_SIZE, AT(max_body_bytes), "1m", 1024, 256 * MIB, NULL, "Request body"},
    {"max-snapshot-bytes", TC_OPT_SIZE, AT(max_snapshot_bytes), "64m", 4096, 1024 * MIB, NULL, "Text in a snapshot"},
    {"header-timeout", TC_OPT_DURATION, AT(header_timeout), "10s", 100, HOUR_MS, NULL, "For a whole request head"},
    {"body-timeout", TC_OPT_DURATION, AT(body_timeout), "30s", 100, HOUR_MS, NULL, "For a whole request body"},
    {"keepalive", TC_OPT_DURATION, AT(keepalive), "75s", 100, HOUR_MS, NULL, "An idle connection is kept this long"},
    {"user-timeout", TC_OPT_DURATION, AT(user_timeout), "45s", 1000, HOUR_MS, NULL,
     "A stream's peer that acknowledges or takes nothing for this long is cut off"},
    {"max-wait", TC_OPT_DURATION, AT(max_wait), "60s", 0, HOUR_MS, NULL, "Longest long poll"},
    {"max-connection-age", TC_OPT_DURATION, AT(max_connection_age), "30m", 0, 24 * HOUR_MS, NULL,
     "A stream is asked to come back after this, give or take a quarter, so that new brokers get their share; 0: "
     "never"},
    {"drain-delay", TC_OPT_DURATION, AT(drain_delay), "0", 0, HOUR_MS, NULL,
     "After SIGTERM: accept for this much longer, while /readyz already says no"},
    {"drain-window", TC_OPT_DURATION, AT(drain_window), "5s", 0, HOUR_MS, NULL,
     "Then: streams are sent away spread over this"},
    {"drain", TC_OPT_DURATION, AT(drain), "5s", 0, HOUR_MS, NULL,
     "After that window: what has not ended is cut off after this"},

    {"ops-listen", TC_OPT_ADDRESS, AT(ops_listen), "127.0.0.1:9464", 0, 0, NULL,
     "Address of /livez, /readyz and /metrics"},
    {"log-format", TC_OPT_CHOICE, AT(log_format), "text", 0, 0, "text|json", "Format of the log on standard error"},
    {"log-level", TC_OPT_CHOICE, AT(log_level), "info", 0, 0, "debug|info|warn|error", "Least level that is logged"},
    {0},
};

static int complain(struct tc_buf *err, const char *sentence) {
    tc_buf_puts(err, sentence);
    return TC_EINVAL;
}

/* 127.0.0.0/8 or ::1 (RFC 6890), or the name for them (RFC 6761); any other name may lead anywhere. */
static bool is_loopback(const char *host) {
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

int broker_options_check(const struct broker_options *o, struct tc_buf *err) {
    char host[256];
    int port;
    struct cors cors;
    if (tc_address_split(o->listen, host, sizeof host, &port) != 0)
        return complain(err, "listen must be HOST:PORT");
    if (!o->allow_anonymous && !is_loopback(host))
        return complain(err,
                        "listen must be a loopback address unless --allow-anonymous: anybody who reaches the address "
                        "can start, read and stop generations");
    if (!tc_prefix_valid(tc_str_from(o->prefix)))
        return complain(err, "prefix must be 1 to 32 printable characters without space, braces and quotes");
    if (o->queue[0] && !tc_id_valid(tc_str_from(o->queue)))
        return complain(err, "queue must be 1 to 64 of A-Z a-z 0-9 _ -");
    if (cors_parse(&cors, o->cors_origins) != 0)
        return complain(err, "cors-origins must be origins such as https://app.example, separated by commas, or *");
    if ((o->redis_cert_file == NULL) != (o->redis_key_file == NULL))
        return complain(err, "redis-cert-file and redis-key-file go together");
    return 0;
}
