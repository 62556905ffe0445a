/* TLS to Redis by OpenSSL memory BIOs: bytes in, bytes out, no socket. struct tc_tls_ctx is shared by a loop's
 * connections; a struct tc_tls is one session. Loop thread. */
#ifndef TC_REDIS_TLS_H
#define TC_REDIS_TLS_H

#include "base/attr.h"
#include "base/buf.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <sys/types.h>

struct tc_tls_files {
    const char *ca_file;              /* NULL = the system's */
    const char *cert_file, *key_file; /* client certificate; both or neither */
    bool insecure;                    /* the server is not verified */
};

/* Borrows `files` for the call. TC_ETLS or TC_EINVAL, logged with its reason. The session types below share the
 * context, which may be freed before them. */
TC_MUST_USE int tc_tls_ctx_create(SSL_CTX **out, const struct tc_tls_files *files);
void tc_tls_ctx_destroy(SSL_CTX *ctx); /* accepts NULL */

struct tc_tls {
    SSL *ssl;      /* owned; NULL while not in use */
    BIO *in, *out; /* owned by ssl: ciphertext from and to the peer */
};

/* A client's session with `host`, a name (sent as SNI, checked in the certificate) or an address (checked only). */
TC_MUST_USE int tc_tls_init(struct tc_tls *t, SSL_CTX *ctx, const char *host);
void tc_tls_fini(struct tc_tls *t); /* accepts zeroed memory */

/* Ciphertext from the peer. TC_ENOMEM. */
TC_MUST_USE int tc_tls_feed(struct tc_tls *t, const char *data, size_t n);
/* Appends what the peer has to be sent to out (whose bound and memory failures stay with it). */
void tc_tls_drain(struct tc_tls *t, struct tc_buf *out);

/* 0 once established, TC_EAGAIN while it needs the peer, TC_ETLS. */
TC_MUST_USE int tc_tls_handshake(struct tc_tls *t);
/* Bytes read into p, or TC_EAGAIN, TC_ELINK (the peer ended the session), TC_ETLS. */
TC_MUST_USE ssize_t tc_tls_read(struct tc_tls *t, char *p, size_t n);
/* Encrypts all n bytes. TC_ETLS. */
TC_MUST_USE int tc_tls_write(struct tc_tls *t, const char *p, size_t n);

/* Why the last call failed, for people, into out: the certificate's fault before OpenSSL's own words. */
void tc_tls_reason(const struct tc_tls *t, char *out, size_t size);

#endif
