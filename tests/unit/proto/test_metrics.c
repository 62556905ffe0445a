/* Metrics: the text a scraper gets. */
#include "base/metrics.h"

#include "wire_support.h"

#include <stdio.h>
#include <stdlib.h>

enum { EVENTS, OPEN, BY_CODE, BY_TWO, TTFT, BY_MODEL, IDS };

static const double bounds[] = {0.1, 1, 0};
static const struct tc_metric_desc descs[] = {
    [EVENTS] = {"tc_events_total", TC_COUNTER, "Events.", NULL, NULL, NULL, 0},
    [OPEN] = {"tc_open_connections", TC_GAUGE, "Open.", NULL, NULL, NULL, 0},
    [BY_CODE] = {"tc_answers_total", TC_COUNTER, "Answers.", "code", NULL, NULL, 0},
    [BY_TWO] = {"tc_two_total", TC_COUNTER, "Two.", "a", "b", NULL, 0},
    [TTFT] = {"tc_ttft_seconds", TC_HISTOGRAM, "First token.", NULL, NULL, bounds, 1e-6},
    [BY_MODEL] = {"tc_model_seconds", TC_HISTOGRAM, "By model.", "model", NULL, bounds, 0},
};

static void assert_rendered(const struct tc_metrics *m, const char *want) {
    struct tc_buf b;
    tc_buf_init(&b, 0);
    tc_metrics_render(m, &b);
    assert_buf(&b, want);
    tc_buf_fini(&b);
}

#define HEAD_EVENTS "# HELP tc_events_total Events.\n# TYPE tc_events_total counter\n"
#define HEAD_OPEN   "# HELP tc_open_connections Open.\n# TYPE tc_open_connections gauge\n"
#define HEAD_CODE   "# HELP tc_answers_total Answers.\n# TYPE tc_answers_total counter\n"
#define HEAD_TWO    "# HELP tc_two_total Two.\n# TYPE tc_two_total counter\n"
#define HEAD_TTFT   "# HELP tc_ttft_seconds First token.\n# TYPE tc_ttft_seconds histogram\n"
#define HEAD_MODEL  "# HELP tc_model_seconds By model.\n# TYPE tc_model_seconds histogram\n"

static void metrics_untouched_render_zero_without_labels(void **state) {
    struct tc_metrics *m = tc_metrics_create(descs, IDS);
    (void)state;
    assert_non_null(m);
    assert_rendered(m,
                    HEAD_EVENTS "tc_events_total 0\n" HEAD_OPEN "tc_open_connections 0\n" HEAD_CODE HEAD_TWO HEAD_TTFT
                                "tc_ttft_seconds_bucket{le=\"0.1\"} 0\ntc_ttft_seconds_bucket{le=\"1\"} 0\n"
                                "tc_ttft_seconds_bucket{le=\"+Inf\"} 0\ntc_ttft_seconds_sum 0\n"
                                "tc_ttft_seconds_count 0\n" HEAD_MODEL);
    tc_metrics_destroy(m);
    tc_metrics_destroy(NULL);
}

static void metrics_each_kind_renders_its_values(void **state) {
    struct tc_metrics *m = tc_metrics_create(descs, IDS);
    (void)state;
    tc_metrics_add(m, EVENTS, NULL, NULL, 2);
    tc_metrics_add(m, EVENTS, NULL, NULL, 3);
    tc_metrics_set(m, OPEN, NULL, NULL, 9);
    tc_metrics_set(m, OPEN, NULL, NULL, 4.5);
    tc_metrics_add(m, BY_CODE, "200", NULL, 1);
    tc_metrics_add(m, BY_CODE, "404", NULL, 1);
    tc_metrics_add(m, BY_CODE, "200", NULL, 1);
    tc_metrics_add(m, BY_TWO, "x", "y", 1);
    tc_metrics_add(m, BY_TWO, "x", "z", 1);
    tc_metrics_observe(m, TTFT, NULL, NULL, 100000);
    tc_metrics_observe(m, TTFT, NULL, NULL, 500000);
    tc_metrics_observe(m, TTFT, NULL, NULL, 2000000);
    tc_metrics_observe(m, BY_MODEL, "m", NULL, 1); /* a bound belongs to its bucket */
    assert_rendered(
        m, HEAD_EVENTS
        "tc_events_total 5\n" HEAD_OPEN "tc_open_connections 4.5\n" HEAD_CODE
        "tc_answers_total{code=\"200\"} 2\ntc_answers_total{code=\"404\"} 1\n" HEAD_TWO
        "tc_two_total{a=\"x\",b=\"y\"} 1\ntc_two_total{a=\"x\",b=\"z\"} 1\n" HEAD_TTFT
        "tc_ttft_seconds_bucket{le=\"0.1\"} 1\ntc_ttft_seconds_bucket{le=\"1\"} 2\n"
        "tc_ttft_seconds_bucket{le=\"+Inf\"} 3\ntc_ttft_seconds_sum 2.6\ntc_ttft_seconds_count 3\n" HEAD_MODEL
        "tc_model_seconds_bucket{model=\"m\",le=\"0.1\"} 0\n"
        "tc_model_seconds_bucket{model=\"m\",le=\"1\"} 1\n"
        "tc_model_seconds_bucket{model=\"m\",le=\"+Inf\"} 1\n"
        "tc_model_seconds_sum{model=\"m\"} 1\ntc_model_seconds_count{model=\"m\"} 1\n");
    tc_metrics_destroy(m);
}

static void metrics_labels_are_escaped_and_utf8(void **state) {
    static const struct tc_metric_desc one[] = {{"tc_x_total", TC_COUNTER, "X.", "l", NULL, NULL, 0}};
    struct tc_metrics *m = tc_metrics_create(one, 1);
    char longest[300];
    (void)state;
    tc_metrics_add(m, 0, "a\"b\\c\nd\xff\xc3\xa4", NULL, 1);
    assert_rendered(m, "# HELP tc_x_total X.\n# TYPE tc_x_total counter\n"
                       "tc_x_total{l=\"a\\\"b\\\\c\\nd\xef\xbf\xbd\xc3\xa4\"} 1\n");
    memset(longest, 'x', sizeof(longest));
    longest[299] = '\0';
    struct tc_cell *cell = tc_metrics_cell(m, 0, longest, NULL);
    longest[200] = '\0';
    assert_ptr_equal(cell, tc_metrics_cell(m, 0, longest, NULL));
    tc_metrics_destroy(m);
}

static void metrics_cell_never_moves_and_the_65th_is_other(void **state) {
    struct tc_metrics *m = tc_metrics_create(descs, IDS);
    struct tc_cell *first = tc_metrics_cell(m, BY_CODE, "0", NULL), *cells[70];
    char label[8];
    (void)state;
    for (int i = 0; i < 70; i++) {
        snprintf(label, sizeof(label), "%d", i);
        cells[i] = tc_metrics_cell(m, BY_CODE, label, NULL);
        cells[i]->value += 1;
    }
    assert_ptr_equal(first, cells[0]);
    assert_ptr_not_equal(cells[63], cells[64]);
    assert_ptr_equal(cells[64], cells[69]);
    assert_ptr_equal(cells[64], tc_metrics_cell(m, BY_CODE, "other", NULL));
    assert_true(cells[64]->value == 6);
    struct tc_buf b;
    tc_buf_init(&b, 0);
    tc_metrics_render(m, &b);
    tc_buf_putc(&b, '\0');
    assert_non_null(strstr(b.data, "tc_answers_total{code=\"other\"} 6\n"));
    tc_buf_fini(&b);
    tc_metrics_destroy(m);
}

static void metrics_cleared_have_no_samples_until_they_are_set(void **state) {
    struct tc_metrics *m = tc_metrics_create(&descs[BY_CODE], 1);
    char name[16];
    (void)state;
    for (int i = 0; i < 70; i++) { /* 64, and those that share one */
        snprintf(name, sizeof(name), "%d", i);
        tc_metrics_set(m, 0, name, NULL, 1);
    }
    tc_metrics_clear(m, 0);
    assert_rendered(m, HEAD_CODE);
    tc_metrics_clear(m, 0);
    tc_metrics_set(m, 0, "200", NULL, 2);
    tc_metrics_add(m, 0, "other", NULL, 3);
    assert_rendered(m, HEAD_CODE "tc_answers_total{code=\"200\"} 2\ntc_answers_total{code=\"other\"} 3\n");
    tc_metrics_destroy(m);
}

static void metrics_merge_adds_series_by_series(void **state) {
    struct tc_metrics *sum = tc_metrics_create(descs, IDS), *a = tc_metrics_create(descs, IDS),
                      *b = tc_metrics_create(descs, IDS), *want = tc_metrics_create(descs, IDS);
    struct tc_buf text;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct tc_metrics *m = i ? b : a;
        tc_metrics_add(m, EVENTS, NULL, NULL, 5);
        tc_metrics_set(m, OPEN, NULL, NULL, 5);
        tc_metrics_add(m, BY_TWO, "x", i ? "y" : "z", 1);
        tc_metrics_observe(m, TTFT, NULL, NULL, 500000);
        tc_metrics_observe(m, BY_MODEL, "m", NULL, 7);
        tc_metrics_merge(sum, m);
        tc_metrics_add(want, EVENTS, NULL, NULL, 5);
        tc_metrics_add(want, OPEN, NULL, NULL, 5);
        tc_metrics_add(want, BY_TWO, "x", i ? "y" : "z", 1);
        tc_metrics_observe(want, TTFT, NULL, NULL, 500000);
        tc_metrics_observe(want, BY_MODEL, "m", NULL, 7);
    }
    tc_buf_init(&text, 0);
    tc_metrics_render(want, &text);
    char *expected = tc_buf_take_cstr(&text);
    assert_rendered(sum, expected);
    free(expected);
    tc_metrics_destroy(sum);
    tc_metrics_destroy(a);
    tc_metrics_destroy(b);
    tc_metrics_destroy(want);
}

static void metrics_buckets_rise(void **state) {
    (void)state;
    for (size_t i = 1; tc_buckets_ttft[i] != 0; i++)
        assert_true(tc_buckets_ttft[i] > tc_buckets_ttft[i - 1]);
    for (size_t i = 1; tc_buckets_per_token[i] != 0; i++)
        assert_true(tc_buckets_per_token[i] > tc_buckets_per_token[i - 1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_untouched_render_zero_without_labels),
        cmocka_unit_test(metrics_each_kind_renders_its_values),
        cmocka_unit_test(metrics_labels_are_escaped_and_utf8),
        cmocka_unit_test(metrics_cell_never_moves_and_the_65th_is_other),
        cmocka_unit_test(metrics_cleared_have_no_samples_until_they_are_set),
        cmocka_unit_test(metrics_merge_adds_series_by_series),
        cmocka_unit_test(metrics_buckets_rise),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
