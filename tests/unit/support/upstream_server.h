/* A model server that does what a script says, on the test's own loop: one script a request, in the order in which the
 * requests come; the last one repeats. Test helper. */
#ifndef TESTS_SUPPORT_UPSTREAM_SERVER_H
#define TESTS_SUPPORT_UPSTREAM_SERVER_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum upstream_verb {
    UPSTREAM_END = 0, /* ends a script; the connection waits for the next request */
    UPSTREAM_SEND,    /* the bytes */
    UPSTREAM_CHUNK,   /* the bytes as one HTTP chunk; none: the last chunk */
    UPSTREAM_DRIBBLE, /* the bytes, one write and one turn of the loop each */
    UPSTREAM_FLOOD,   /* the bytes again and again, as long as they are taken */
    UPSTREAM_WAIT,    /* milliseconds */
    UPSTREAM_FIN,     /* closes in order */
    UPSTREAM_RESET,   /* closes with RST */
    UPSTREAM_HANG     /* nothing more */
};

struct upstream_step {
    enum upstream_verb verb;
    const char *bytes; /* NUL-terminated, borrowed */
    unsigned ms;
};

struct upstream_conn;

struct upstream_server {
    uv_loop_t *loop;
    uv_tcp_t tcp;
    int port;
    char url[64]; /* http://127.0.0.1:port/v1 */
    const struct upstream_step *const *scripts;
    size_t script_count;
    unsigned connections;  /* accepted */
    unsigned requests;     /* read whole */
    unsigned gone;         /* connections that the client closed */
    size_t flooded;        /* bytes that the kernel took of UPSTREAM_FLOOD */
    struct tc_buf request; /* the last one, head and body */
    struct upstream_conn *conns;
    bool closing;
};

void upstream_server_start(struct upstream_server *s, uv_loop_t *loop);
void upstream_server_scripts(struct upstream_server *s, const struct upstream_step *const *scripts, size_t count);
void upstream_server_stop(struct upstream_server *s); /* run the loop, then upstream_server_fini() */
void upstream_server_fini(struct upstream_server *s);

#endif
