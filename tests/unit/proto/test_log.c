/* Log lines as they arrive at the other end of standard error. */
#include "base/log.h"

#include "wire_support.h"

#include <fcntl.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static int saved, pipe_fds[2];

static int capture(void **state) {
    (void)state;
    saved = dup(STDERR_FILENO);
    return pipe(pipe_fds) < 0 || fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK) < 0 ? -1 : 0;
}

static int release(void **state) {
    (void)state;
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(saved);
    return 0;
}

/* The line one call writes; "" if none. */
#define LINE(call, out)                                                                                                \
    do {                                                                                                               \
        dup2(pipe_fds[1], STDERR_FILENO);                                                                              \
        call;                                                                                                          \
        dup2(saved, STDERR_FILENO);                                                                                    \
        ssize_t n_ = read(pipe_fds[0], (out), sizeof(out) - 1);                                                        \
        (out)[n_ > 0 ? n_ : 0] = '\0';                                                                                 \
    } while (0)

static const char *after_time(const char *line) {
    assert_true(strlen(line) > 28);
    assert_int_equal(line[10], 'T');
    assert_int_equal(line[26], 'Z');
    return line + 28;
}

static void log_text_quotes_only_what_needs_it(void **state) {
    char line[8192];
    (void)state;
    tc_log_setup("broker", TC_LOG_INFO, 0);
    LINE(tc_log(TC_LOG_INFO, "ready", TC_LS("listen", "127.0.0.1:80"), TC_LI("n", -5), TC_LF("rate", 0.5),
                TC_LS("odd", "a b=\"c\"\n\x1b"), TC_LS("empty", ""), TC_LERR(TC_ENOMEM)),
         line);
    assert_string_equal(after_time(line), "info broker: ready listen=127.0.0.1:80 n=-5 rate=0.5 "
                                          "odd=\"a b=\\\"c\\\"\\n\\u001b\" empty=\"\" error=\"out of memory\"\n");
}

static void log_json_is_one_object_a_line(void **state) {
    char line[8192];
    json_t *o;
    (void)state;
    tc_log_setup("worker", TC_LOG_DEBUG, 1);
    LINE(tc_log(TC_LOG_WARN, "a \"b\"", TC_LSTR("gen", ((struct tc_str){"x\0\xff\xc3\xa4\n", 6})),
                TC_LI("n", INT64_MIN), TC_LF("bad", (double)NAN)),
         line);
    assert_int_equal(line[strlen(line) - 1], '\n');
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    o = json_loads(line, JSON_ALLOW_NUL, NULL);
    assert_non_null(o);
    assert_string_equal(json_string_value(json_object_get(o, "level")), "warn");
    assert_string_equal(json_string_value(json_object_get(o, "component")), "worker");
    assert_string_equal(json_string_value(json_object_get(o, "msg")), "a \"b\"");
    assert_memory_equal(json_string_value(json_object_get(o, "gen")), "x\0\xef\xbf\xbd\xc3\xa4\n", 8);
    assert_true(json_integer_value(json_object_get(o, "n")) == INT64_MIN);
    assert_true(json_is_null(json_object_get(o, "bad")));
    assert_int_equal(strlen(json_string_value(json_object_get(o, "time"))), 27);
    json_decref(o);
}

static void log_below_the_level_is_silent(void **state) {
    char line[8192];
    (void)state;
    tc_log_setup("broker", TC_LOG_WARN, 0);
    LINE(tc_log0(TC_LOG_INFO, "not this"), line);
    assert_string_equal(line, "");
    LINE(tc_log0(TC_LOG_ERROR, "but this"), line);
    assert_string_equal(after_time(line), "error broker: but this\n");
}

static void log_too_long_is_cut_and_says_so(void **state) {
    char line[8192], *text = malloc(10000);
    (void)state;
    for (int json = 0; json <= 1; json++) {
        /* Every length near the bound, with characters and escapes that may fall on it. */
        for (size_t n = 3900; n < 4200; n++) {
            for (size_t i = 0; i < n; i++)
                text[i] = i % 3 == 0 ? '\xc3' : i % 3 == 1 ? '\xa4' : '"';
            tc_log_setup("broker", TC_LOG_INFO, json);
            LINE(tc_log(TC_LOG_INFO, "m", TC_LSTR("v", ((struct tc_str){text, n * 3 / 4})), TC_LS("behind", "x")),
                 line);
            size_t len = strlen(line);
            assert_true(len <= 4096 && line[len - 1] == '\n');
            json_t *o = json ? json_loads(line, 0, NULL) : NULL;
            if (json)
                assert_non_null(o);
            if (strstr(line, "behind") == NULL)
                assert_non_null(strstr(line, json ? "\"cut\":true}" : "\" cut=true\n"));
            json_decref(o);
        }
    }
    LINE(tc_log(TC_LOG_INFO, "m", TC_LSTR("v", ((struct tc_str){text, 9999}))), line);
    assert_non_null(strstr(line, "\"cut\":true}"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_text_quotes_only_what_needs_it),
        cmocka_unit_test(log_json_is_one_object_a_line),
        cmocka_unit_test(log_below_the_level_is_silent),
        cmocka_unit_test(log_too_long_is_cut_and_says_so),
    };
    return cmocka_run_group_tests_name("log", tests, capture, release);
}
