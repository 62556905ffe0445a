/* Redis URLs from anywhere: never out of bounds; what is taken has its fields terminated and in range. */
#include "redis/url.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_redis_url url;
    if (tc_redis_url_parse(&url, (struct tc_str){(const char *)data, size}) != 0)
        return 0;
    if (!memchr(url.at.host, 0, sizeof(url.at.host)) || !memchr(url.at.path, 0, sizeof(url.at.path)) ||
        !memchr(url.user, 0, sizeof(url.user)) || !memchr(url.password, 0, sizeof(url.password)))
        abort();
    if (!url.at.host[0] == !url.at.path[0] || url.db < 0 || url.db > TC_REDIS_DB_MAX)
        abort();
    if (url.at.host[0] && (url.at.port < 1 || url.at.port > 65535))
        abort();
    char text[300];
    tc_endpoint_format(&url.at, text, sizeof(text));
    return 0;
}
