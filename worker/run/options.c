/* The worker's options. */
#include "run/options.h"

#include "tokencast/error.h"
#include "wire/keys.h"

#include <stddef.h>
#include <string.h>

#define AT(field) offsetof(struct worker_options, field)
#define HOUR_MS   3600000LL
#define MIB       (1024LL * 1024)

const struct tc_option worker_option_table[] = {
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
    {"name", TC_OPT_STRING, AT(name), "", 0, 0, NULL, "This worker's name; default: host name and a random part"},

    {"provider", TC_OPT_CHOICE, AT(provider), "replay", 0, 0, "openai|anthropic|replay", "Where tokens come from"},
    {"upstream", TC_OPT_STRING, AT(upstream), NULL, 0, 0, NULL,
     "Base URL of the model server, such as http://127.0.0.1:8000/v1"},
    {"api-key-file", TC_OPT_STRING, AT(api_key_file), NULL, 0, 0, NULL,
     "File with the model server's key; read again for every generation"},
    {"model", TC_OPT_STRING, AT(model), NULL, 0, 0, NULL, "Model for requests that name none"},
    {"continue", TC_OPT_CHOICE, AT(going_on), "auto", 0, 0, "auto|never|prefill|vllm",
     "How the model server goes on from half an answer; auto: Anthropic's does, others begin anew"},
    {"replay-file", TC_OPT_STRING, AT(replay_file), NULL, 0, 0, NULL,
     "UTF-8 text for the replay provider; default: a text that is built in"},
    {"replay-rate", TC_OPT_INT, AT(replay_rate), "30", 1, 1000000, NULL, "Tokens per second of the replay provider"},
    {"connect-timeout", TC_OPT_DURATION, AT(connect_timeout), "10s", 1, HOUR_MS, NULL,
     "Connecting to the model server"},
    {"first-token-timeout", TC_OPT_DURATION, AT(first_token_timeout), "60s", 1, HOUR_MS, NULL,
     "From the request to the first token"},
    {"idle-timeout", TC_OPT_DURATION, AT(idle_timeout), "30s", 1, HOUR_MS, NULL, "Between two tokens"},
    {"max-retries", TC_OPT_INT, AT(max_retries), "4", 0, 100, NULL,
     "Retries of the model server before the first token"},

    {"slots", TC_OPT_INT, AT(slots), "256", 1, 100000, NULL, "Generations at the same time"},
    {"lease-ms", TC_OPT_DURATION, AT(lease_ms), "10s", 300, HOUR_MS, NULL,
     "A job whose worker was silent for this long goes to another worker"},
    {"grace", TC_OPT_DURATION, AT(grace), "30s", 0, 24 * HOUR_MS, NULL,
     "After SIGTERM: running generations may finish for this long, then others get them"},
    {"settle", TC_OPT_DURATION, AT(settle), "15s", 0, HOUR_MS, NULL,
     "After the end of a generation: how long its log is watched before the job is acknowledged"},
    {"max-attempts", TC_OPT_INT, AT(max_attempts), "3", 1, 1000, NULL,
     "A job that was started this often and not finished ends with an error"},

    {"flush-tokens", TC_OPT_INT, AT(flush_tokens), "1", 1, 10000, NULL, "Tokens gathered into one entry …"},
    {"flush-interval", TC_OPT_DURATION, AT(flush_interval), "20ms", 1, 60000, NULL,
     "… or this long, whichever is first"},
    {"retention", TC_OPT_DURATION, AT(retention), "1h", 1000, 24 * 365 * HOUR_MS, NULL,
     "Logs expire this long after they were last written"},
    {"patience", TC_OPT_DURATION, AT(patience), "60s", 100, HOUR_MS, NULL,
     "Redis answers but refuses writes: give a generation up after this long"},
    {"window-bytes", TC_OPT_SIZE, AT(window_bytes), "1m", 4096, 1024 * MIB, NULL,
     "Written entries kept for repair, for each generation"},
    {"buffer-bytes", TC_OPT_SIZE, AT(buffer_bytes), "256k", 4096, 1024 * MIB, NULL,
     "Unsent text at which the model server is paused, for each generation"},
    {"max-log-bytes", TC_OPT_SIZE, AT(max_log_bytes), "64m", 4096, 1024 * MIB, NULL,
     "A generation that says more ends with an error"},

    {"ops-listen", TC_OPT_ADDRESS, AT(ops_listen), "127.0.0.1:9465", 0, 0, NULL,
     "Address of /livez, /readyz and /metrics"},
    {"log-format", TC_OPT_CHOICE, AT(log_format), "text", 0, 0, "text|json", "Format of the log on standard error"},
    {"log-level", TC_OPT_CHOICE, AT(log_level), "info", 0, 0, "debug|info|warn|error", "Least level that is logged"},
    {0},
};

static int complain(struct tc_buf *err, const char *sentence) {
    tc_buf_puts(err, sentence);
    return TC_EINVAL;
}

int worker_options_check(const struct worker_options *o, struct tc_buf *err) {
    if (!tc_prefix_valid(tc_str_from(o->prefix)))
        return complain(err, "prefix must be 1 to 32 printable characters without space, braces and quotes");
    if (o->queue[0] && !tc_id_valid(tc_str_from(o->queue)))
        return complain(err, "queue must be 1 to 64 of A-Z a-z 0-9 _ -");
    if (o->name[0] && !tc_id_valid(tc_str_from(o->name)))
        return complain(err, "name must be 1 to 64 of A-Z a-z 0-9 _ -");
    if (strcmp(o->provider, "replay") != 0 && !o->upstream)
        return complain(err, "upstream is needed unless provider is replay");
    if (strcmp(o->provider, "replay") == 0 && o->upstream)
        return complain(err, "upstream is given, but provider is replay: say openai or anthropic");
    if (strcmp(o->going_on, "vllm") == 0 && strcmp(o->provider, "openai") != 0)
        return complain(err, "continue=vllm is for provider openai");
    if (!o->redis_cert_file != !o->redis_key_file)
        return complain(err, "redis-cert-file and redis-key-file belong together");
    return 0;
}
