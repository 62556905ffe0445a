/* Redis URLs: split first, decode each part after, so that an escaped delimiter is data. Pure functions. */
#include "redis/url.h"

#include "tokencast/error.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int hex_digit(char c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

/* Percent-decodes into out[size] with a NUL. A decoded NUL would end the field early and is refused. */
static int decode(char *out, size_t size, struct tc_str in) {
    size_t n = 0;
    for (size_t i = 0; i < in.n; i++) {
        char c = in.p[i];
        if (c == '%') {
            int high = i + 1 < in.n ? hex_digit(in.p[i + 1]) : -1;
            int low = i + 2 < in.n ? hex_digit(in.p[i + 2]) : -1;
            if (high < 0 || low < 0)
                return TC_ESYNTAX;
            c = (char)(high << 4 | low);
            i += 2;
        }
        if (c == '\0')
            return TC_ESYNTAX;
        if (n + 1 >= size)
            return TC_ETOOLARGE;
        out[n++] = c;
    }
    out[n] = '\0';
    return 0;
}

static int parse_number(struct tc_str in, int min, int max, int *out) {
    int64_t v = 0;
    if (in.n == 0)
        return TC_ESYNTAX;
    for (size_t i = 0; i < in.n; i++) {
        if (in.p[i] < '0' || in.p[i] > '9')
            return TC_ESYNTAX;
        if (v <= max)
            v = v * 10 + (in.p[i] - '0');
    }
    if (v < min || v > max)
        return TC_ERANGE;
    *out = (int)v;
    return 0;
}

/* Cuts `in` at the first (or last) `c`: *head is before it, *tail after it. false, and *head the whole, without one. */
static bool cut(struct tc_str in, char c, bool last, struct tc_str *head, struct tc_str *tail) {
    *head = in;
    *tail = (struct tc_str){NULL, 0};
    for (size_t k = 0; k < in.n; k++) {
        size_t i = last ? in.n - 1 - k : k;
        if (in.p[i] != c)
            continue;
        *head = (struct tc_str){in.p, i};
        *tail = (struct tc_str){in.p + i + 1, in.n - i - 1};
        return true;
    }
    return false;
}

static bool skip_prefix(struct tc_str *in, const char *prefix) {
    size_t n = strlen(prefix);
    if (in->n < n || memcmp(in->p, prefix, n) != 0)
        return false;
    in->p += n;
    in->n -= n;
    return true;
}

static int parse_login(struct tc_redis_url *out, struct tc_str login) {
    struct tc_str user, password;
    out->has_password = cut(login, ':', false, &user, &password);
    int rc = decode(out->user, sizeof(out->user), user);
    return rc ? rc : decode(out->password, sizeof(out->password), password);
}

/* host, host:port, [v6], [v6]:port */
static int parse_host(struct tc_endpoint *at, struct tc_str in, int default_port) {
    struct tc_str host, port;
    bool has_port;
    if (in.n > 0 && in.p[0] == '[') {
        struct tc_str rest;
        if (!cut((struct tc_str){in.p + 1, in.n - 1}, ']', false, &host, &rest))
            return TC_ESYNTAX;
        has_port = rest.n > 0;
        if (has_port && rest.p[0] != ':')
            return TC_ESYNTAX;
        port = has_port ? (struct tc_str){rest.p + 1, rest.n - 1} : rest;
    } else {
        has_port = cut(in, ':', false, &host, &port);
    }
    if (host.n == 0)
        return TC_ESYNTAX;
    at->port = default_port;
    if (has_port) {
        int rc = parse_number(port, 1, 65535, &at->port);
        if (rc)
            return rc;
    }
    return decode(at->host, sizeof(at->host), host);
}

static int parse_query(struct tc_redis_url *out, struct tc_str query) {
    if (!skip_prefix(&query, "db="))
        return TC_ESYNTAX;
    return parse_number(query, 0, TC_REDIS_DB_MAX, &out->db);
}

/* What follows the login in unix://: a path, taken as it is up to the query. */
static int parse_path(struct tc_endpoint *at, struct tc_str path) {
    if (path.n < 2 || path.p[0] != '/')
        return TC_ESYNTAX;
    return decode(at->path, sizeof(at->path), path);
}

static int parse_db(struct tc_redis_url *out, struct tc_str db) {
    return db.n > 0 ? parse_number(db, 0, TC_REDIS_DB_MAX, &out->db) : 0;
}

static int parse_server(struct tc_redis_url *out, struct tc_str in) {
    struct tc_str host, db;
    cut(in, '/', false, &host, &db);
    int rc = parse_host(&out->at, host, TC_REDIS_PORT);
    return rc ? rc : parse_db(out, db);
}

static int parse_seeds(struct tc_redis_url *out, struct tc_str in, int default_port) {
    struct tc_str host, rest = in;
    bool more = true;
    while (more) {
        more = cut(rest, ',', false, &host, &rest);
        if (out->seed_count == TC_REDIS_SEEDS)
            return TC_ERANGE;
        int rc = parse_host(&out->seeds[out->seed_count++], host, default_port);
        if (rc)
            return rc;
    }
    return 0;
}

static int parse_sentinels(struct tc_redis_url *out, struct tc_str in) {
    struct tc_str hosts, path, master, db;
    cut(in, '/', false, &hosts, &path);
    cut(path, '/', false, &master, &db);
    int rc = parse_seeds(out, hosts, TC_SENTINEL_PORT);
    if (!rc)
        rc = master.n > 0 ? decode(out->master, sizeof(out->master), master) : TC_ESYNTAX;
    return rc ? rc : parse_db(out, db);
}

static int parse_cluster(struct tc_redis_url *out, struct tc_str in) {
    struct tc_str hosts, path;
    cut(in, '/', false, &hosts, &path);
    return path.n > 0 ? TC_ESYNTAX : parse_seeds(out, hosts, TC_REDIS_PORT);
}

static int parse_unix(struct tc_redis_url *out, struct tc_str in) {
    return parse_path(&out->at, in);
}

static const struct scheme {
    const char *prefix;
    enum tc_redis_kind kind;
    bool tls;
    int (*parse)(struct tc_redis_url *out, struct tc_str in); /* what follows the login, up to the query */
} schemes[] = {
    {"redis://", TC_REDIS_ONE, false, parse_server},
    {"rediss://", TC_REDIS_ONE, true, parse_server},
    {"unix://", TC_REDIS_ONE, false, parse_unix},
    {"redis+sentinel://", TC_REDIS_SENTINEL, false, parse_sentinels},
    {"rediss+sentinel://", TC_REDIS_SENTINEL, true, parse_sentinels},
    {"redis+cluster://", TC_REDIS_CLUSTER, false, parse_cluster},
    {"rediss+cluster://", TC_REDIS_CLUSTER, true, parse_cluster},
};

static const struct scheme *take_scheme(struct tc_str *in) {
    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (skip_prefix(in, schemes[i].prefix))
            return &schemes[i];
    return NULL;
}

static int parse(struct tc_redis_url *out, struct tc_str in) {
    const struct scheme *scheme = take_scheme(&in);
    if (!scheme)
        return TC_ESYNTAX;
    out->kind = scheme->kind;
    out->tls = scheme->tls;

    struct tc_str main, query;
    bool has_query = cut(in, '?', false, &main, &query);

    /* The login ends at the last '@' before the first '/': a path may hold '@', and so may a careless password. */
    struct tc_str authority, path, login, rest;
    int rc = 0;
    cut(main, '/', false, &authority, &path);
    if (cut(authority, '@', true, &login, &rest)) {
        rc = parse_login(out, login);
        main.n -= login.n + 1;
        main.p += login.n + 1;
    }
    if (!rc)
        rc = scheme->parse(out, main);
    if (!rc && has_query)
        rc = parse_query(out, query);
    if (!rc && out->kind == TC_REDIS_CLUSTER && out->db != 0)
        rc = TC_ERANGE; /* a cluster has one database */
    return rc;
}

int tc_redis_url_parse(struct tc_redis_url *out, struct tc_str url) {
    memset(out, 0, sizeof(*out));
    if (url.n > TC_REDIS_URL_MAX)
        return TC_ETOOLARGE;
    int rc = parse(out, url);
    if (rc)
        memset(out, 0, sizeof(*out));
    return rc;
}

bool tc_endpoint_eq(const struct tc_endpoint *a, const struct tc_endpoint *b) {
    return a->port == b->port && strcmp(a->host, b->host) == 0 && strcmp(a->path, b->path) == 0;
}

void tc_endpoint_format(const struct tc_endpoint *at, char *out, size_t size) {
    if (at->path[0])
        snprintf(out, size, "%s", at->path);
    else if (strchr(at->host, ':'))
        snprintf(out, size, "[%s]:%d", at->host, at->port);
    else
        snprintf(out, size, "%s:%d", at->host, at->port);
}
