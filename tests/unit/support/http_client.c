/* A raw HTTP client for tests. Not a parser of answers at large: it reads what this server writes. */
#include "http_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

void http_client_open(struct http_client *c, int port) {
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *c = (struct http_client){.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(c->fd >= 0);
    /* The kernel accepts into the backlog, so this does not wait for the loop. */
    assert_int_equal(connect(c->fd, (struct sockaddr *)&in, sizeof(in)), 0);
    assert_int_equal(fcntl(c->fd, F_SETFL, O_NONBLOCK), 0);
}

void http_client_send(struct http_client *c, const char *p, size_t n) {
    while (n > 0) {
        ssize_t sent = send(c->fd, p, n, MSG_NOSIGNAL);
        if (sent < 0) {
            c->refused = c->refused || errno != EAGAIN;
            return;
        }
        p += sent;
        n -= (size_t)sent;
    }
}

void http_client_puts(struct http_client *c, const char *text) {
    http_client_send(c, text, strlen(text));
}

void http_client_poll_some(struct http_client *c, size_t max) {
    if (c->fd < 0 || c->eof || c->reset)
        return;
    char *in = realloc(c->in, c->n + max);
    assert_non_null(in);
    c->in = in;
    ssize_t n = recv(c->fd, c->in + c->n, max, 0);
    if (n > 0)
        c->n += (size_t)n;
    else if (n == 0)
        c->eof = true;
    else if (errno != EAGAIN)
        c->reset = true;
}

void http_client_poll(struct http_client *c) {
    http_client_poll_some(c, 256 * 1024);
}

bool http_client_over(const struct http_client *c) {
    return c->eof || c->reset;
}

void http_client_close(struct http_client *c) {
    if (c->fd >= 0)
        (void)close(c->fd);
    free(c->in);
    *c = (struct http_client){.fd = -1};
}

void http_client_abort(struct http_client *c) {
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    http_client_close(c);
}

static const char *find(const char *p, size_t n, const char *text) {
    size_t m = strlen(text);
    for (size_t i = 0; m <= n && i <= n - m; i++)
        if (memcmp(p + i, text, m) == 0)
            return p + i;
    return NULL;
}

bool http_client_has(const struct http_client *c, const char *text) {
    return find(c->in, c->n, text) != NULL;
}

bool http_client_answer(const struct http_client *c, bool head_only, int *status, struct tc_str *body, size_t *length) {
    const char *end = find(c->in, c->n, "\r\n\r\n");
    if (end == NULL)
        return false;
    size_t head = (size_t)(end - c->in) + 4;
    const char *field = find(c->in, head, "Content-Length: ");
    size_t n = field && !head_only ? (size_t)strtoul(field + 16, NULL, 10) : 0;
    if (c->n - head < n)
        return false;
    *status = (int)strtol(c->in + 9, NULL, 10);
    *body = (struct tc_str){c->in + head, n};
    *length = head + n;
    return true;
}

void http_client_drop(struct http_client *c, size_t length) {
    c->n -= length;
    memmove(c->in, c->in + length, c->n);
}
