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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_what_may_happen_begins_at_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
