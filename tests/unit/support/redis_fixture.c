/* See redis_fixture.h. */
#define _XOPEN_SOURCE 700 /* nftw */
#include "redis_fixture.h"

#include <errno.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define HANG_MS 60000
#define TURN_MS 2

/* ---- the loop ---- */

static int turn(uv_loop_t *loop) {
    int alive = uv_run(loop, UV_RUN_NOWAIT);
    struct pollfd fd = {.fd = uv_backend_fd(loop), .events = POLLIN};
    (void)poll(&fd, 1, TURN_MS);
    return alive;
}

static bool is_set(void *arg) {
    return **(const bool **)arg;
}

void redis_run_until(uv_loop_t *loop, const bool *flag) {
    redis_run_until_cond(loop, is_set, &flag);
}

void redis_run_until_cond(uv_loop_t *loop, bool (*cond)(void *arg), void *arg) {
    uint64_t end = uv_hrtime() + (uint64_t)HANG_MS * 1000000;
    while (!cond(arg)) {
        if (uv_hrtime() > end)
            fail_msg("hang: the condition did not come true");
        turn(loop);
    }
}

void redis_run_for(uv_loop_t *loop, int ms) {
    uint64_t left = (uint64_t)ms * 1000000;
    while (left > 0) {
        uint64_t began = uv_hrtime();
        turn(loop);
        uint64_t took = uv_hrtime() - began;
        if (took > TURN_MS * 1000000)
            took = TURN_MS * 1000000;
        left -= took < left ? took : left;
    }
}

void redis_loop_end(uv_loop_t *loop) {
    uint64_t end = uv_hrtime() + (uint64_t)HANG_MS * 1000000;
    while (turn(loop))
        if (uv_hrtime() > end)
            fail_msg("hang: the loop does not become empty");
    assert_int_equal(uv_loop_close(loop), 0);
}

/* ---- a server ---- */

int redis_free_port(void) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

void redis_server_init(struct redis_server *s) {
    signal(SIGPIPE, SIG_IGN); /* as both programs do */
    memset(s, 0, sizeof(*s));
    snprintf(s->dir, sizeof(s->dir), "/tmp/tc-redis-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    snprintf(s->sock, sizeof(s->sock), "%s/sock", s->dir);
    snprintf(s->url, sizeof(s->url), "unix://%s", s->sock);
}

static void run_server(struct redis_server *s) {
    char port[16], tls_port[16];
    snprintf(port, sizeof(port), "%d", s->port);
    snprintf(tls_port, sizeof(tls_port), "%d", s->tls_port);
    const char *argv[64] = {"redis-server", "--port",    port,    "--tls-port",  tls_port, "--bind", "127.0.0.1",
                            "--unixsocket", s->sock,     "--dir", s->dir,        "--save", "",       "--appendonly",
                            "no",           "--logfile", "log",   "--daemonize", "no"};
    size_t n = 0;
    while (argv[n])
        n++;
    for (size_t i = 0; s->extra[i]; i++)
        argv[n++] = s->extra[i];
    char *args[64] = {NULL};
    for (size_t i = 0; i < n; i++)
        args[i] = strdup(argv[i]);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves no server behind */
    execvp(args[0], args);
    _exit(127);
}

void redis_server_start(struct redis_server *s) {
    s->pid = fork();
    assert_true(s->pid >= 0);
    if (s->pid == 0)
        run_server(s);
    for (int i = 0; i < 1000; i++) {
        redisContext *c = redisConnectUnix(s->sock);
        bool up = c && !c->err;
        if (c)
            redisFree(c);
        if (up)
            return;
        assert_int_equal(waitpid(s->pid, NULL, WNOHANG), 0); /* it runs */
        (void)poll(NULL, 0, 10);
    }
    fail_msg("redis-server does not come up");
}

void redis_server_kill(struct redis_server *s) {
    if (s->pid == 0)
        return;
    kill(s->pid, SIGKILL);
    kill(s->pid, SIGCONT);
    while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    s->pid = 0;
    unlink(s->sock);
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

void redis_server_fini(struct redis_server *s) {
    redis_server_kill(s);
    nftw(s->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

long long redis_server_do(struct redis_server *s, const char *command) {
    redisContext *c = redisConnectUnix(s->sock);
    assert_non_null(c);
    assert_int_equal(c->err, 0);
    char *text = strdup(command), *save = NULL;
    const char *argv[16];
    int argc = 0;
    for (char *word = strtok_r(text, " ", &save); word && argc < 16; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    redisReply *reply = redisCommandArgv(c, argc, argv, NULL);
    assert_non_null(reply);
    if (reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply->str);
    long long n = reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0;
    freeReplyObject(reply);
    free(text);
    redisFree(c);
    return n;
}

/* ---- probes ---- */

static void on_up(void *arg) {
    struct redis_probe *p = arg;
    p->ups++;
}

static void on_down(void *arg, int err) {
    struct redis_probe *p = arg;
    p->downs++;
    p->last_err = err;
}

void redis_probe_attach(struct redis_probe *p, struct tc_redis *r) {
    memset(p, 0, sizeof(*p));
    p->watch = (struct tc_redis_watch){.on_up = on_up, .on_down = on_down, .arg = p};
    tc_redis_watch_add(r, &p->watch);
}

void redis_probe_on_closed(void *arg) {
    struct redis_probe *p = arg;
    assert_false(p->closed);
    p->closed = true;
}

static bool is_up(void *arg) {
    return tc_redis_is_up(arg);
}

void redis_probe_await_up(uv_loop_t *loop, struct tc_redis *r) {
    redis_run_until_cond(loop, is_up, r);
}

void redis_probe_close(uv_loop_t *loop, struct tc_redis *r) {
    struct redis_probe p = {.closed = false};
    tc_redis_close(r, redis_probe_on_closed, &p);
    assert_false(p.closed);
    redis_run_until(loop, &p.closed);
}

void redis_on_reply(void *arg, int err, const redisReply *reply) {
    struct redis_call *call = arg;
    struct redis_replies *to = call->to;
    assert_int_equal(err == 0, reply != NULL);
    if (err)
        to->last_err = err;
    if (err)
        to->failed++;
    else
        to->ok++;
    if (to->n < 64)
        to->order[to->n] = call->tag;
    to->n++;
}
