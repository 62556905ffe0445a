/* Where a Redis is and how to log in, from its URL. Pure functions.
 *   redis://[user[:password]@]host[:port][/db]     rediss://… the same over TLS
 *   unix://[user[:password]@]/path[?db=N]
 *   redis+sentinel://[user[:password]@]host[:port][,host[:port]...]/MASTER[/db]     rediss+sentinel://… over TLS
 *   redis+cluster://[user[:password]@]host[:port][,host[:port]...]                  rediss+cluster://… over TLS
 * An IPv6 host is bracketed; parts are percent-decoded after splitting; ?db=N is taken by every scheme. */
#ifndef TC_REDIS_URL_H
#define TC_REDIS_URL_H

#include "base/attr.h"
#include "base/str.h"

#include <stdbool.h>

#define TC_REDIS_URL_MAX 4096   /* bytes of a whole URL */
#define TC_REDIS_PORT    6379   /* when the URL names none */
#define TC_SENTINEL_PORT 26379  /* the same, of a sentinel */
#define TC_REDIS_SEEDS   16     /* servers named in one URL */
#define TC_REDIS_DB_MAX  999999 /* highest database number taken */

/* One server's address: a host with a port, or a socket in the file system. */
struct tc_endpoint {
    char host[256]; /* name or address, without brackets; empty for a socket */
    int port;
    char path[108]; /* sun_path with its NUL; empty for a host */
};

enum tc_redis_kind { TC_REDIS_ONE, TC_REDIS_SENTINEL, TC_REDIS_CLUSTER };

struct tc_redis_url {
    enum tc_redis_kind kind;
    struct tc_endpoint at;                    /* TC_REDIS_ONE: the server */
    struct tc_endpoint seeds[TC_REDIS_SEEDS]; /* otherwise: sentinels, or nodes of the cluster */
    size_t seed_count;
    char master[128]; /* TC_REDIS_SENTINEL: the name that the sentinels know */
    bool tls;
    char user[256];      /* empty = the default user */
    char password[1024]; /* meaningful if has_password */
    bool has_password;
    int db;
};

/* 0, TC_ESYNTAX, TC_ERANGE (port, database, more seeds than there is room for), or TC_ETOOLARGE (a part is longer than
 * its field). On error *out is zeroed. */
TC_MUST_USE int tc_redis_url_parse(struct tc_redis_url *out, struct tc_str url);

bool tc_endpoint_eq(const struct tc_endpoint *a, const struct tc_endpoint *b);

/* The endpoint for people, without user and password: "host:port", "[v6]:port" or the path. */
void tc_endpoint_format(const struct tc_endpoint *at, char *out, size_t size);

#endif
