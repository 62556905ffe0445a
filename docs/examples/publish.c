/* An inference server that writes its own logs, as small as it gets: a timer stands for the model and says a word of a
 * text every 20 ms.
 *
 *     build/bin/publish-example redis://127.0.0.1:6379 gen_example 'What the model says.'
 *     curl -N http://127.0.0.1:8080/v1/generations/gen_example/events
 *
 * Exit status: 0 when the log has its end, 1 when the log belongs to somebody else or cannot be written. */
#include "tokencast/publish.h"
#include "redis/redis.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

struct server {
    uv_loop_t loop;
    struct tc_redis *redis;
    struct tc_publisher *publisher;
    struct tc_writer *writer;
    uv_timer_t model;
    const char *rest; /* what the model has not said yet */
    int status;
};

static void on_publisher_free(void *arg) {
    struct server *s = arg;
    tc_publisher_destroy(s->publisher);
    tc_redis_close(s->redis, NULL, NULL);
}

static void stop(struct server *s) {
    uv_close((uv_handle_t *)&s->model, NULL);
    tc_writer_close(s->writer, on_publisher_free, s);
}

static void finish(struct server *s, const char *reason) {
    uv_timer_stop(&s->model);
    if (tc_writer_finish(s->writer, reason, (struct tc_str){0}) != 0)
        stop(s);
}

static void on_token(uv_timer_t *timer) {
    struct server *s = timer->data;
    size_t n = strcspn(s->rest, " ");
    n += strspn(s->rest + n, " ");
    if (n == 0) {
        finish(s, "stop");
    } else if (tc_writer_text(s->writer, TC_KIND_TEXT, 0, (struct tc_str){s->rest, n}) != 0) {
        finish(s, "error");
    } else {
        s->rest += n;
    }
}

static void on_open(void *arg, int err, struct tc_position last, bool ended) {
    struct server *s = arg;
    (void)last; /* this example does not go on where another stopped */
    if (err != 0 || ended || tc_writer_start(s->writer, "example", "example") != 0) {
        fprintf(stderr, "cannot write: %s\n", ended ? "the log has ended" : tc_strerror(err));
        stop(s);
        return;
    }
    uv_timer_start(&s->model, on_token, 0, 20);
}

static void on_cancel(void *arg) {
    struct server *s = arg;
    if (uv_is_active((uv_handle_t *)&s->model))
        finish(s, "cancelled");
}

static void on_pressure(void *arg, bool wait) {
    struct server *s = arg;
    if (wait)
        uv_timer_stop(&s->model);
    else
        uv_timer_start(&s->model, on_token, 0, 20);
}

static void on_lost(void *arg, int err) {
    fprintf(stderr, "lost the log: %s\n", tc_strerror(err));
    stop(arg);
}

static void on_finished(void *arg) {
    struct server *s = arg;
    s->status = 0;
    stop(s);
}

int main(int argc, char **argv) {
    static const struct tc_writer_callbacks callbacks = {on_open, on_cancel, on_pressure, on_lost, on_finished, NULL};
    if (argc != 4) {
        fprintf(stderr, "usage: %s REDIS-URL GENERATION TEXT\n", argv[0]);
        return 2;
    }
    struct server s = {.rest = argv[3], .status = 1};
    struct tc_redis_options redis = {.url = argv[1], .pubsub = true};
    signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&s.loop) != 0 || uv_timer_init(&s.loop, &s.model) != 0 ||
        tc_redis_create(&s.redis, &s.loop, &redis) != 0 ||
        tc_publisher_create(&s.publisher, &s.loop, s.redis, &(struct tc_publisher_options){0}) != 0 ||
        tc_writer_open(&s.writer, s.publisher, argv[2], true, "example", NULL, &callbacks, &s) != 0) {
        fprintf(stderr, "cannot begin\n");
        return 1;
    }
    s.model.data = &s;
    uv_run(&s.loop, UV_RUN_DEFAULT);
    uv_loop_close(&s.loop);
    return s.status;
}
