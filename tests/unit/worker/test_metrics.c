/* run/metrics.h: what a worker shows before anything has happened. */
#include "run/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A series that begins with its first event is one that Prometheus does not count. */
static void metrics_what_may_happen_begins_at_zero(void **state) {
    (void)state;
    static const char *const series[] = {
        "\ntokencast_worker_generations_finished_total{reason=\"stop\"} 0\n",
        "\ntokencast_worker_generations_finished_total{reason=\"error\"} 0\n",
        "\ntokencast_worker_generations_finished_total{reason=\"cancelled\"} 0\n",
        "\ntokencast_worker_jobs_taken_total{how=\"new\"} 0\n",
        "\ntokencast_worker_jobs_taken_total{how=\"claimed\"} 0\n",
        "\ntokencast_worker_takeovers_total{mode=\"continue\"} 0\n",
        "\ntokencast_worker_takeovers_total{mode=\"restart\"} 0\n",
    };
    struct tc_metrics *m = metrics_create();
    struct tc_buf text = {0};
    assert_non_null(m);
    tc_metrics_render(m, &text);
    tc_buf_putc(&text, '\0');
    assert_true(tc_buf_ok(&text));
    for (size_t i = 0; i < sizeof(series) / sizeof(series[0]); i++)
        if (strstr(text.data, series[i]) == NULL)
            fail_msg("not there: %s", series[i]);
    tc_buf_fini(&text);
    tc_metrics_destroy(m);
}

static void assert_queue(struct tc_metrics *m, int64_t waiting, int64_t taken, const char *want) {
    struct backlog b = {.key = "tc:jobs", .counts = {waiting, taken}};
    struct tc_buf text = {0};
    metrics_gather_backlog(m, &b);
    tc_metrics_render(m, &text);
    tc_buf_putc(&text, '\0');
    assert_true(tc_buf_ok(&text));
    const char *from = strstr(text.data, "# TYPE tokencast_worker_queue_jobs gauge\n");
    assert_non_null(from);
    from = strchr(from, '\n') + 1;
    const char *to = strchr(from, '#');
    assert_int_equal(to - from, strlen(want));
    assert_memory_equal(from, want, strlen(want));
    tc_buf_fini(&text);
}

/* 0 would look like an empty queue. */
static void metrics_queue_that_is_not_known_has_no_sample(void **state) {
    (void)state;
    struct tc_metrics *m = metrics_create();
    assert_non_null(m);
    assert_queue(m, 7, 0,
                 "tokencast_worker_queue_jobs{queue=\"tc:jobs\",state=\"waiting\"} 7\n"
                 "tokencast_worker_queue_jobs{queue=\"tc:jobs\",state=\"taken\"} 0\n");
    assert_queue(m, -1, 3, "tokencast_worker_queue_jobs{queue=\"tc:jobs\",state=\"taken\"} 3\n");
    assert_queue(m, -1, -1, "");
    tc_metrics_destroy(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_what_may_happen_begins_at_zero),
        cmocka_unit_test(metrics_queue_that_is_not_known_has_no_sample),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
