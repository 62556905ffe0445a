/* Redis URLs from anywhere: never out of bounds; what is taken has its fields terminated and in range. */
#include "redis/url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct tc_endpoint *at) {
    char text[300];
    if (!memchr(at->host, 0, sizeof(at->host)) || !memchr(at->path, 0, sizeof(at->path)) ||
        !at->host[0] == !at->path[0] || (at->host[0] && (at->port < 1 || at->port > 65535)))
        abort();
    tc_endpoint_format(at, text, sizeof(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_redis_url url;
    if (tc_redis_url_parse(&url, (struct tc_str){(const char *)data, size}) != 0)
        return 0;
    if (!memchr(url.user, 0, sizeof(url.user)) || !memchr(url.password, 0, sizeof(url.password)) ||
        !memchr(url.master, 0, sizeof(url.master)) || url.db < 0 || url.db > TC_REDIS_DB_MAX)
        abort();
    if (url.kind == TC_REDIS_ONE)
        check(&url.at);
    else if (url.seed_count == 0 || url.seed_count > TC_REDIS_SEEDS)
        abort();
    if ((url.kind == TC_REDIS_SENTINEL) != (url.master[0] != '\0'))
        abort();
    for (size_t i = 0; i < url.seed_count; i++)
        check(&url.seeds[i]);
    return 0;
}
