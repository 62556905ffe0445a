/* See redis_play.h. */
#include "redis_play.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

int redis_play_begin(struct redis_play *p) {
    memset(p, 0, sizeof(*p));
    if (uv_loop_init(&p->loop) != 0)
        return -1;
    redis_nodes_start(&p->nodes, &p->loop);
    return 0;
}

int redis_play_begin_sentinel(struct redis_play *p, const char *login) {
    int rc = redis_play_begin(p);
    p->nodes.real = (struct redis_halves){1, 1};
    snprintf(p->nodes.url, sizeof(p->nodes.url), "redis+sentinel://%s127.0.0.1:%d/m", login, p->nodes.node[0].port);
    return rc;
}

void redis_play_create(struct redis_play *p) {
    const struct tc_redis_options opts = {
        .url = p->nodes.url, .backoff_min_ms = 2, .backoff_max_ms = 20, .pubsub = true};
    assert_int_equal(tc_redis_create(&p->r, &p->loop, &opts), 0);
    redis_probe_attach(&p->probe, p->r);
}

void redis_play_create_up(struct redis_play *p) {
    redis_play_create(p);
    redis_probe_await_up(&p->loop, p->r);
}

void redis_play_close(struct redis_play *p) {
    if (p->r)
        redis_probe_close(&p->loop, p->r);
    p->r = NULL;
}

void redis_play_close_early(struct redis_play *p) {
    for (int ms = 0; ms < 12; ms++) {
        redis_play_create(p);
        redis_run_for(&p->loop, ms);
        redis_play_close(p);
    }
}

int redis_play_end(struct redis_play *p) {
    redis_play_close(p);
    redis_nodes_stop(&p->nodes);
    redis_loop_end(&p->loop);
    return 0;
}
