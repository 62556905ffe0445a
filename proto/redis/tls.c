/* TLS sessions over memory BIOs (see tls.h). The error queue of OpenSSL is per thread: it is emptied before each call
 * that may leave something in it, so that a reason is never another connection's. */
#include "redis/tls.h"

#include "base/log.h"
#include "tokencast/error.h"

#include <arpa/inet.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static int refuse_files(SSL_CTX *ctx, const char *what, const char *file) {
    char reason[256];
    ERR_error_string_n(ERR_get_error(), reason, sizeof(reason));
    tc_log(TC_LOG_ERROR, "redis tls cannot be set up", TC_LS("what", what), TC_LS("file", file ? file : ""),
           TC_LS("why", reason));
    SSL_CTX_free(ctx);
    return TC_ETLS;
}

int tc_tls_ctx_create(SSL_CTX **out, const struct tc_tls_files *files) {
    if (!files->cert_file != !files->key_file) {
        tc_log0(TC_LOG_ERROR, "redis tls: a client certificate needs both its file and its key's");
        return TC_EINVAL;
    }
    ERR_clear_error();
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx)
        return TC_ENOMEM;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    /* A renegotiation could make a write wait for the peer; TLS 1.3 has none anyway. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
    /* The write buffer is a tc_buf that moves as it grows; a retried write may come from another address. */
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(ctx, files->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    int ok = files->ca_file ? SSL_CTX_load_verify_locations(ctx, files->ca_file, NULL)
                            : SSL_CTX_set_default_verify_paths(ctx);
    if (!ok)
        return refuse_files(ctx, "ca", files->ca_file);
    if (files->cert_file) {
        if (SSL_CTX_use_certificate_chain_file(ctx, files->cert_file) != 1)
            return refuse_files(ctx, "certificate", files->cert_file);
        if (SSL_CTX_use_PrivateKey_file(ctx, files->key_file, SSL_FILETYPE_PEM) != 1 ||
            SSL_CTX_check_private_key(ctx) != 1)
            return refuse_files(ctx, "key", files->key_file);
    }
    *out = ctx;
    return 0;
}

void tc_tls_ctx_destroy(SSL_CTX *ctx) {
    SSL_CTX_free(ctx);
}

static bool is_address(const char *host) {
    unsigned char bytes[16];
    return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

static bool expect_host(SSL *ssl, const char *host) {
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    char name[256]; /* OpenSSL's macro casts a const away */
    snprintf(name, sizeof(name), "%s", host);
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, name) == 1 && SSL_set1_host(ssl, name) == 1;
}

int tc_tls_init(struct tc_tls *t, SSL_CTX *ctx, const char *host) {
    ERR_clear_error();
    memset(t, 0, sizeof(*t));
    SSL *ssl = SSL_new(ctx);
    if (!ssl)
        return TC_ENOMEM;
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    if (!in || !out || !expect_host(ssl, host)) {
        BIO_free(in);
        BIO_free(out);
        SSL_free(ssl);
        return TC_ETLS;
    }
    BIO_set_mem_eof_return(in, -1); /* empty means "not yet", not "ended" */
    SSL_set_bio(ssl, in, out);
    SSL_set_connect_state(ssl);
    *t = (struct tc_tls){.ssl = ssl, .in = in, .out = out};
    return 0;
}

void tc_tls_fini(struct tc_tls *t) {
    SSL_free(t->ssl);
    memset(t, 0, sizeof(*t));
}

int tc_tls_feed(struct tc_tls *t, const char *data, size_t n) {
    while (n > 0) {
        int part = n > INT_MAX ? INT_MAX : (int)n;
        int taken = BIO_write(t->in, data, part);
        if (taken <= 0)
            return TC_ENOMEM;
        data += taken;
        n -= (size_t)taken;
    }
    return 0;
}

void tc_tls_drain(struct tc_tls *t, struct tc_buf *out) {
    size_t n = BIO_ctrl_pending(t->out);
    char *p = n > 0 ? tc_buf_reserve(out, n) : NULL;
    if (!p)
        return;
    int got = BIO_read(t->out, p, n > INT_MAX ? INT_MAX : (int)n);
    if (got > 0)
        out->len += (size_t)got;
}

/* What a failed SSL call means to the caller. */
static int translate(struct tc_tls *t, int ret) {
    switch (SSL_get_error(t->ssl, ret)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return TC_EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return TC_ELINK;
    default:
        return TC_ETLS;
    }
}

int tc_tls_handshake(struct tc_tls *t) {
    ERR_clear_error();
    int ret = SSL_do_handshake(t->ssl);
    return ret == 1 ? 0 : translate(t, ret);
}

ssize_t tc_tls_read(struct tc_tls *t, char *p, size_t n) {
    ERR_clear_error();
    size_t got = 0;
    int ret = SSL_read_ex(t->ssl, p, n, &got);
    return ret == 1 ? (ssize_t)got : translate(t, ret);
}

int tc_tls_write(struct tc_tls *t, const char *p, size_t n) {
    ERR_clear_error();
    /* A memory BIO takes everything, so a write never waits: anything short of the whole is a failure. */
    size_t done = 0;
    if (n > 0 && (SSL_write_ex(t->ssl, p, n, &done) != 1 || done != n))
        return TC_ETLS;
    return 0;
}

void tc_tls_reason(const struct tc_tls *t, char *out, size_t size) {
    long verify = t->ssl ? SSL_get_verify_result(t->ssl) : X509_V_OK;
    unsigned long err = ERR_peek_last_error();
    if (verify != X509_V_OK && SSL_get_verify_mode(t->ssl) != SSL_VERIFY_NONE)
        snprintf(out, size, "certificate: %s", X509_verify_cert_error_string(verify));
    else if (err)
        ERR_error_string_n(err, out, size);
    else
        snprintf(out, size, "TLS failure");
}
