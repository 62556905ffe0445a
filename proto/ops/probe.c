/* A question to our own operations port over a blocking socket. Main thread. Every wait has the same end, so that a
 * program that hangs is told from one that answers slowly by the engine's own time-out at the latest. */
#include "ops/probe.h"

#include "base/option.h"
#include "tokencast/error.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_MS   2000
#define MAX_ANSWER 4096

static int64_t now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Waits for bytes, or for their end. */
static int wait_readable(int fd, int64_t deadline) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    for (;;) {
        int64_t left = deadline - now_ms();
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n > 0)
            return 0;
        if (n == 0)
            return TC_ETIMEOUT;
        if (errno != EINTR)
            return TC_EIO;
    }
}

/* A connection to ourselves is made or refused at once: the kernel does both. */
static int dial(const char *host, int port, int *fd) {
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
    char service[8];
    snprintf(service, sizeof(service), "%d", port);
    if (getaddrinfo(host[0] != '\0' ? host : "127.0.0.1", service, &hints, &found) != 0)
        return TC_ENOTFOUND;
    struct timeval limit = {.tv_sec = LIMIT_MS / 1000};
    *fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int rc = *fd < 0 ? TC_EIO : 0;
    if (rc == 0 && (setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
                    connect(*fd, found->ai_addr, found->ai_addrlen) < 0)) {
        rc = TC_ECONNECT;
        close(*fd);
    }
    freeaddrinfo(found);
    return rc;
}

/* The whole answer, ended by a NUL; the server closes behind it. */
static int converse(int fd, char *answer) {
    static const char request[] = "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    int64_t deadline = now_ms() + LIMIT_MS;
    size_t n = 0;
    if (send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL) != (ssize_t)sizeof(request) - 1)
        return TC_ELINK;
    while (n < MAX_ANSWER) {
        int rc = wait_readable(fd, deadline);
        if (rc < 0)
            return rc;
        ssize_t got = recv(fd, answer + n, MAX_ANSWER - n, 0);
        if (got < 0 && errno != EINTR)
            return TC_ELINK;
        if (got == 0)
            break;
        n += got > 0 ? (size_t)got : 0;
    }
    answer[n] = '\0';
    return 0;
}

static int judge(const char *answer, FILE *out) {
    const char *body = strstr(answer, "\r\n\r\n");
    if (strncmp(answer, "HTTP/1.1 ", 9) != 0 || body == NULL)
        return TC_EPROTO;
    fprintf(out, "%s", body + 4);
    return strncmp(answer + 9, "200 ", 4) == 0 ? 0 : TC_EAGAIN;
}

int tc_ops_probe(const char *address, FILE *out) {
    char host[256], answer[MAX_ANSWER + 1];
    int port, fd = -1;
    int rc = tc_address_split(address, host, sizeof(host), &port);
    if (rc == 0 && port == 0)
        rc = TC_EINVAL;
    if (rc == 0)
        rc = dial(host, port, &fd);
    if (rc == 0) {
        rc = converse(fd, answer);
        close(fd);
    }
    if (rc == 0)
        rc = judge(answer, out);
    if (rc < 0 && rc != TC_EAGAIN)
        fprintf(out, "no answer from --ops-listen %s: %s\n", address, tc_strerror(rc));
    return rc;
}
