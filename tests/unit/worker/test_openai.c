/* What is asked of OpenAI-compatible servers. */
#include "provider/dialect.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int build(char **out, const char *request, const char *model) {
    json_t *root = json_loads(request, 0, NULL), *body = NULL;

    assert_non_null(root);
    json_t *before = json_deep_copy(root);
    int rc = dialect_openai.body(&body, root, model);
    assert_true(json_equal(root, before));
    *out = rc == 0 ? json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(body);
    json_decref(before);
    json_decref(root);
    return rc;
}

static void check(const char *request, const char *want) {
    char *got;

    assert_int_equal(build(&got, request, "default"), 0);
    assert_string_equal(got, want);
    free(got);
}

static void prompt_becomes_one_user_message(void **state) {
    (void)state;
    check("{\"prompt\":\"Hi\"}",
          "{\"messages\":[{\"content\":\"Hi\",\"role\":\"user\"}],\"model\":\"default\",\"stream\":true,"
          "\"stream_options\":{\"include_usage\":true}}");
}

static void options_are_merged_but_never_win(void **state) {
    (void)state;
    check("{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"options\":{\"temperature\":0.5,"
          "\"stream\":false,\"model\":\"evil\",\"messages\":[],\"prompt\":\"x\",\"stop\":null,"
          "\"stream_options\":{\"include_usage\":false,\"continuous_usage_stats\":true}}}",
          "{\"messages\":[{\"content\":\"a\",\"role\":\"user\"}],\"model\":\"m\",\"stream\":true,\"stream_options\":{"
          "\"continuous_usage_stats\":true,\"include_usage\":true},\"temperature\":0.5}");
}

static void request_without_model_or_messages_is_refused(void **state) {
    char *got;

    (void)state;
    assert_int_equal(build(&got, "{\"prompt\":\"Hi\"}", NULL), TC_EINVAL);
    assert_int_equal(build(&got, "{\"model\":\"m\"}", NULL), TC_EINVAL);
    assert_int_equal(build(&got, "{\"model\":\"m\",\"messages\":[]}", NULL), TC_EINVAL);
    assert_int_equal(build(&got, "{\"model\":7,\"prompt\":\"x\",\"options\":[]}", NULL), TC_EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompt_becomes_one_user_message),
        cmocka_unit_test(options_are_merged_but_never_win),
        cmocka_unit_test(request_without_model_or_messages_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
