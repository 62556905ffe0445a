/* Resolves the options of a struct tc_redis (see link.h). Runs once at create; nothing here touches the network. */
#include "redis/link.h"

#include "base/log.h"
#include "tokencast/error.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OUT_BYTES ((size_t)1 << 30) /* a write's length is an unsigned int in libuv */

static int fail(const char *msg, int rc) {
    tc_log(TC_LOG_ERROR, msg, TC_LERR(rc));
    return rc;
}

static int read_password(struct tc_redis_url *url, const char *file) {
    FILE *f = fopen(file, "re");
    if (!f) {
        tc_log(TC_LOG_ERROR, "redis password file cannot be read", TC_LS("file", file), TC_LS("why", strerror(errno)));
        return TC_EIO;
    }
    char text[sizeof(url->password) + 2]; /* room for CRLF, and for one byte too many to be seen */
    size_t n = fread(text, 1, sizeof(text), f);
    bool failed = ferror(f) != 0;
    (void)fclose(f);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    int rc = failed ? TC_EIO : 0;
    if (!rc && n >= sizeof(url->password))
        rc = TC_ETOOLARGE;
    if (!rc && (n == 0 || memchr(text, '\0', n)))
        rc = TC_EINVAL;
    if (!rc) {
        memcpy(url->password, text, n);
        url->password[n] = '\0';
        url->has_password = true;
    } else {
        tc_log(TC_LOG_ERROR, "redis password file has no usable password", TC_LS("file", file), TC_LERR(rc));
    }
    OPENSSL_cleanse(text, sizeof(text));
    return rc;
}

static int init_login(struct tc_link *link, const struct tc_redis_options *opts) {
    int rc = tc_redis_url_parse(&link->url, tc_str_from(opts->url));
    if (rc)
        return fail("redis URL is malformed", rc); /* not shown: it may hold a password */
    if (opts->password_file) {
        rc = read_password(&link->url, opts->password_file);
        if (rc)
            return rc;
    }
    if (link->url.user[0] && !link->url.has_password)
        return fail("redis URL names a user but there is no password", TC_EINVAL);
    return 0;
}

static int init_tls(struct tc_link *link, const struct tc_redis_options *opts) {
    const struct tc_tls_files files = {opts->ca_file, opts->cert_file, opts->key_file, opts->tls_insecure};
    if (link->url.tls)
        return tc_tls_ctx_create(&link->tls, &files);
    /* Whoever gives certificates believes that the link is encrypted: do not let that be an error of one letter. */
    if (files.ca_file || files.cert_file || files.key_file)
        return fail("redis certificates are given but the URL is not rediss://", TC_EINVAL);
    return 0;
}

static uint64_t or_default(int64_t v, uint64_t def) {
    return v > 0 ? (uint64_t)v : def;
}

int tc_link_init(struct tc_link *link, const struct tc_redis_options *opts) {
    memset(link, 0, sizeof(*link));
    link->connect_timeout_ms = or_default(opts->connect_timeout_ms, 5000);
    link->command_timeout_ms = or_default(opts->command_timeout_ms, 5000);
    link->backoff_min_ms = or_default(opts->backoff_min_ms, 50);
    link->backoff_max_ms = or_default(opts->backoff_max_ms, 2000);
    link->max_in_flight = opts->max_in_flight ? opts->max_in_flight : 100000;
    link->max_out_bytes = opts->max_out_bytes ? opts->max_out_bytes : (size_t)64 << 20;
    if (link->max_out_bytes > MAX_OUT_BYTES)
        link->max_out_bytes = MAX_OUT_BYTES;
    int rc = init_login(link, opts);
    if (!rc)
        rc = init_tls(link, opts);
    if (!rc && opts->client_name) {
        link->client_name = strdup(opts->client_name);
        rc = link->client_name ? 0 : TC_ENOMEM;
    }
    if (rc)
        tc_link_fini(link);
    return rc;
}

void tc_link_fini(struct tc_link *link) {
    tc_tls_ctx_destroy(link->tls);
    free(link->client_name);
    OPENSSL_cleanse(link, sizeof(*link));
}
