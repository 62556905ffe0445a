/* A raw HTTP client for tests on the server's own loop: it never blocks, so that the test can run the loop between its
 * steps, and it shows the bytes as they came. */
#ifndef TESTS_SUPPORT_HTTP_CLIENT_H
#define TESTS_SUPPORT_HTTP_CLIENT_H

#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

struct http_client {
    int fd;       /* -1 when closed */
    char *in;     /* what was received and not yet consumed */
    size_t n;     /* bytes of it */
    bool eof;     /* the server sent FIN */
    bool reset;   /* the server sent RST */
    bool refused; /* a send failed: the server no longer takes our bytes */
};

void http_client_open(struct http_client *c, int port);                /* 127.0.0.1; fails the test if refused */
void http_client_send(struct http_client *c, const char *p, size_t n); /* as much as the socket takes: use it small */
void http_client_puts(struct http_client *c, const char *text);
void http_client_poll(struct http_client *c); /* receives what is there */
/* Receives at most `max` bytes, for readers that are slow. */
void http_client_poll_some(struct http_client *c, size_t max);
bool http_client_over(const struct http_client *c); /* FIN or RST came */
void http_client_close(struct http_client *c);      /* FIN; frees */
void http_client_abort(struct http_client *c);      /* RST; frees */

/* Whether a whole answer has been received; then its status and body (borrowed until dropped). */
bool http_client_answer(const struct http_client *c, bool head_only, int *status, struct tc_str *body, size_t *length);
void http_client_drop(struct http_client *c, size_t length); /* consumes the answer */
bool http_client_has(const struct http_client *c, const char *text);

#endif
