/* What is asked of Anthropic: OpenAI's shapes translated, Anthropic's own passed through. */
#include "provider/dialect.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static json_t *build(const char *request, int want) {
    json_error_t where;
    json_t *root = json_loads(request, 0, &where), *body = NULL;

    if (!root)
        fail_msg("%s", where.text);
    json_t *before = json_deep_copy(root);
    assert_int_equal(dialect_anthropic.body(&body, root, "claude"), want);
    assert_true(json_equal(root, before)); /* the client's request is not ours to change */
    json_decref(before);
    json_decref(root);
    return body;
}

static void check(const char *request, const char *member, const char *want) {
    json_t *body = build(request, 0);
    json_t *value = json_object_get(body, member);
    char *got = value ? json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY) : strdup("absent");

    assert_string_equal(got, want);
    free(got);
    json_decref(body);
}

static void url_takes_v1_once(void **state) {
    static const struct {
        const char *base, *url;
    } cases[] = {{"https://a", "https://a/v1/messages"}, {"https://a/v1", "https://a/v1/messages"}};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct tc_buf url;
        tc_buf_init(&url, 0);
        dialect_anthropic.url(&url, tc_str_from(cases[i].base));
        assert_true(tc_str_is(tc_buf_str(&url), cases[i].url));
        tc_buf_fini(&url);
    }
}

static void limits_are_translated(void **state) {
    (void)state;
    check("{\"prompt\":\"x\"}", "max_tokens", "4096");
    check("{\"prompt\":\"x\",\"options\":{\"max_completion_tokens\":7}}", "max_tokens", "7");
    check("{\"prompt\":\"x\",\"options\":{\"max_completion_tokens\":7}}", "max_completion_tokens", "absent");
    check("{\"prompt\":\"x\",\"options\":{\"stop\":\"END\"}}", "stop_sequences", "[\"END\"]");
    check("{\"prompt\":\"x\",\"options\":{\"stop\":[\"A\",\"B\"]}}", "stop_sequences", "[\"A\",\"B\"]");
    check("{\"prompt\":\"x\",\"options\":{\"temperature\":1.7}}", "temperature", "1.0");
    check("{\"prompt\":\"x\",\"options\":{\"n\":2,\"seed\":1,\"stream\":false}}", "n", "absent");
    check("{\"prompt\":\"x\",\"options\":{\"stream\":false}}", "stream", "true");
    check("{\"prompt\":\"x\",\"options\":{\"user\":\"u\"}}", "metadata", "{\"user_id\":\"u\"}");
    check("{\"prompt\":\"x\",\"options\":{\"top_k\":5}}", "top_k", "5");
}

static void system_messages_move_out(void **state) {
    static const char request[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"A\"},{\"role\":\"user\",\"content\":"
        "\"Q\"},{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"B\"}]}],"
        "\"options\":{\"system\":[{\"type\":\"text\",\"text\":\"0\"}]}}";
    (void)state;
    check(request, "system",
          "[{\"type\":\"text\",\"text\":\"0\"},{\"type\":\"text\",\"text\":\"A\"},{\"type\":\"text\",\"text\":\"B\"}]");
    check(request, "messages", "[{\"role\":\"user\",\"content\":\"Q\"}]");
    check("{\"prompt\":\"x\"}", "system", "absent");
    check("{\"prompt\":\"x\",\"options\":{\"system\":\"S\"}}", "system", "\"S\"");
}

static void tools_are_translated(void **state) {
    static const char tool[] =
        "{\"prompt\":\"x\",\"options\":{\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
        "\"description\":\"d\",\"parameters\":{\"type\":\"object\"}}},{\"name\":\"g\",\"input_schema\""
        ":{}}],\"tool_choice\":\"required\",\"parallel_tool_calls\":false}}";
    (void)state;
    check(tool, "tools",
          "[{\"name\":\"f\",\"description\":\"d\",\"input_schema\":{\"type\":\"object\"}},{\"name\":\"g\",\"input_"
          "schema\":"
          "{}}]");
    check(tool, "tool_choice", "{\"type\":\"any\",\"disable_parallel_tool_use\":true}");
    check(tool, "parallel_tool_calls", "absent");
    check("{\"prompt\":\"x\",\"options\":{\"tools\":[],\"tool_choice\":\"auto\"}}", "tools", "absent");
    check("{\"prompt\":\"x\",\"options\":{\"tools\":[{\"name\":\"g\"}],\"tool_choice\":{\"type\":\"function\","
          "\"function\":"
          "{\"name\":\"g\"}}}}",
          "tool_choice", "{\"type\":\"tool\",\"name\":\"g\"}");
}

static void tool_turns_are_translated(void **state) {
    (void)state;
    check(
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{\"id\":\"1\",\"function\":{\"name\":"
        "\"f\",\"arguments\":\"{\\\"a\\\":1}\"}},{\"id\":\"2\",\"function\":{\"name\":\"g\",\"arguments\":\"\"}}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"1\",\"content\":\"r1\"},{\"role\":\"tool\",\"tool_call_id\":\"2\","
        "\"content\":[{\"type\":\"text\",\"text\":\"r2\"}]}]}",
        "messages",
        "[{\"role\":\"assistant\",\"content\":[{\"type\":\"tool_use\",\"id\":\"1\",\"name\":\"f\",\"input\":{\"a\":1}},"
        "{\"type\":\"tool_use\",\"id\":\"2\",\"name\":\"g\",\"input\":{}}]},{\"role\":\"user\",\"content\":[{\"type\":"
        "\"tool_result\",\"tool_use_id\":\"1\",\"content\":\"r1\"},{\"type\":\"tool_result\",\"tool_use_id\":\"2\","
        "\"content\":[{\"type\":\"text\",\"text\":\"r2\"}]}]}]");
}

static void images_are_translated(void **state) {
    (void)state;
    check("{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image_url\",\"image_url\":{\"url\":"
          "\"data:image/png;base64,QUI=\"}},{\"type\":\"image_url\",\"image_url\":{\"url\":\"https://x/y.png\"}}]}]}",
          "messages",
          "[{\"role\":\"user\",\"content\":[{\"type\":\"image\",\"source\":{\"type\":\"base64\",\"media_type\":\"image/"
          "png\","
          "\"data\":\"QUI=\"}},{\"type\":\"image\",\"source\":{\"type\":\"url\",\"url\":\"https://x/y.png\"}}]}]");
}

static void nonsense_in_messages_does_no_harm(void **state) {
    (void)state;
    json_t *body = build("{\"messages\":[1,null,\"x\",{},{\"role\":5},{\"role\":\"tool\"},{\"role\":\"assistant\","
                         "\"tool_calls\":[1,{\"function\":{\"arguments\":\"[\"}}]},{\"role\":\"user\",\"content\":[1,{"
                         "\"type\":\"image_url\"},{\"type\":\"image_url\",\"image_url\":\"data:,\"}]}],\"options\":{"
                         "\"tools\":[1,{\"function\":{}}],\"tool_choice\":7,\"stop\":3,\"system\":4}}",
                         0);
    json_decref(body);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(url_takes_v1_once),
        cmocka_unit_test(limits_are_translated),
        cmocka_unit_test(system_messages_move_out),
        cmocka_unit_test(tools_are_translated),
        cmocka_unit_test(tool_turns_are_translated),
        cmocka_unit_test(images_are_translated),
        cmocka_unit_test(nonsense_in_messages_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
