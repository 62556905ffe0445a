/* What of half an answer goes into the next request, by whom, and how it is asked. */
#include "provider/prefill.h"

#include "provider/dialect.h"
#include "provider/upstream.h"
#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct upstream *make(uv_loop_t *loop, const char *kind, const char *going_on) {
    struct provider *p;
    const struct provider_options opts = {
        .kind = kind, .upstream = "http://127.0.0.1:1/v1", .model = "m", .going_on = going_on};
    assert_int_equal(provider_create(&p, loop, &opts), 0);
    return TC_CONTAINER_OF(p, struct upstream, base);
}

/* `kind` and `going_on` make a provider; how many bytes of `said` it keeps of `request`'s answer. The body that goes
 * on behind exactly these is put into *body (the caller's), if it keeps any. */
static size_t kept(const char *kind, const char *going_on, const char *request, const char *said, json_t **body) {
    uv_loop_t loop;
    char *text = NULL;
    json_t *root = json_loads(request, 0, NULL);
    assert_non_null(root);
    json_t *before = json_deep_copy(root);
    assert_int_equal(uv_loop_init(&loop), 0);
    struct upstream *u = make(&loop, kind, going_on);
    size_t n = provider_keeps(&u->base, root, tc_str_from(said), false);
    assert_int_equal(provider_keeps(&u->base, root, tc_str_from(said), true), 0); /* thoughts cannot be shown */
    if (n > 0) {
        assert_int_equal(upstream_body(u, &text, root, (struct tc_str){said, n}), 0);
        if (body)
            *body = json_loads(text, 0, NULL);
        free(text);
    } else if (*said) {
        assert_int_equal(upstream_body(u, &text, root, tc_str_from(said)), TC_EINVAL);
    }
    assert_true(json_equal(root, before)); /* it is needed again, without the prefix */
    provider_close(&u->base, NULL, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    json_decref(before);
    json_decref(root);
    return n;
}

static void check_last_turn(const json_t *body, size_t turns, const char *said) {
    const json_t *messages = json_object_get(body, "messages");
    const json_t *last = json_array_get(messages, turns - 1);
    assert_int_equal(json_array_size(messages), turns);
    assert_string_equal(json_string_value(json_object_get(last, "role")), "assistant");
    assert_string_equal(json_string_value(json_object_get(last, "content")), said);
}

static void prefill_anthropic_is_its_last_turn(void **state) {
    json_t *body = NULL;
    (void)state;
    assert_int_equal(kept("anthropic", NULL, "{\"prompt\":\"x\"}", "Once upon", &body), 9);
    check_last_turn(body, 2, "Once upon");
    assert_null(json_object_get(body, "continue_final_message"));
    json_decref(body);
    assert_int_equal(kept("anthropic", "never", "{\"prompt\":\"x\"}", "Once", NULL), 0);
}

static void prefill_openai_goes_on_only_when_told(void **state) {
    static const char request[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    json_t *body = NULL;
    (void)state;
    assert_int_equal(kept("openai", NULL, request, "Once", NULL), 0);
    assert_int_equal(kept("openai", "auto", request, "Once", NULL), 0);
    assert_int_equal(kept("openai", "never", request, "Once", NULL), 0);
    assert_int_equal(kept("openai", "prefill", request, "Once", &body), 4);
    check_last_turn(body, 2, "Once");
    assert_null(json_object_get(body, "continue_final_message"));
    json_decref(body);
    assert_int_equal(kept("openai", "vllm", request, "Once", &body), 4);
    check_last_turn(body, 2, "Once");
    assert_true(json_is_true(json_object_get(body, "continue_final_message")));
    assert_true(json_is_false(json_object_get(body, "add_generation_prompt")));
    json_decref(body);
}

static void prefill_leaves_white_space_at_the_end_to_be_said_again(void **state) {
    json_t *body = NULL;
    (void)state;
    assert_int_equal(kept("anthropic", NULL, "{\"prompt\":\"x\"}", "\n A b. \t\r\n", &body), 6);
    check_last_turn(body, 2, "\n A b.");
    json_decref(body);
    assert_int_equal(kept("openai", "vllm", "{\"prompt\":\"x\"}", " \n", NULL), 0);
    assert_int_equal(kept("openai", "vllm", "{\"prompt\":\"x\"}", "", NULL), 0);
}

static void prefill_keeps_every_character(void **state) {
    json_t *body = NULL;
    (void)state;
    assert_int_equal(kept("anthropic", NULL, "{\"prompt\":\"x\"}", "a\xf0\x9f\xa6\x8a\xe2\x82\xac\"\\", &body), 10);
    check_last_turn(body, 2, "a\xf0\x9f\xa6\x8a\xe2\x82\xac\"\\");
    json_decref(body);
}

static void prefill_is_not_for_requests_that_begin_otherwise(void **state) {
    static const char *const anthropic[] = {
        "{\"prompt\":\"x\",\"options\":{\"thinking\":{\"type\":\"enabled\"}}}",
        "{\"prompt\":\"x\",\"options\":{\"tools\":[{\"name\":\"f\"}]}}",
        "{\"prompt\":\"x\",\"options\":{\"output_format\":{\"type\":\"json_schema\"}}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":\"b\"}]}"};
    static const char *const openai[] = {
        "{\"prompt\":\"x\",\"options\":{\"n\":2}}", "{\"prompt\":\"x\",\"options\":{\"tools\":[{\"name\":\"f\"}]}}",
        "{\"prompt\":\"x\",\"options\":{\"response_format\":{\"type\":\"json_object\"}}}",
        "{\"prompt\":\"x\",\"options\":{\"guided_choice\":[\"a\",\"b\"]}}",
        "{\"prompt\":\"x\",\"options\":{\"echo\":true}}"};
    (void)state;
    for (size_t i = 0; i < sizeof(anthropic) / sizeof(anthropic[0]); i++)
        assert_int_equal(kept("anthropic", NULL, anthropic[i], "Once", NULL), 0);
    for (size_t i = 0; i < sizeof(openai) / sizeof(openai[0]); i++)
        assert_int_equal(kept("openai", "vllm", openai[i], "Once", NULL), 0);
    assert_int_equal(kept("anthropic", NULL, "{\"prompt\":\"x\",\"options\":{\"tools\":[]}}", "Once", NULL), 4);
    assert_int_equal(kept("openai", "vllm", "{\"prompt\":\"x\",\"options\":{\"echo\":false}}", "Once", NULL), 4);
}

static void prefill_words_mean_what_they_say(void **state) {
    (void)state;
    assert_int_equal(prefill_named(NULL, PREFILL_TURN), PREFILL_TURN);
    assert_int_equal(prefill_named("auto", PREFILL_NEVER), PREFILL_NEVER);
    assert_int_equal(prefill_named("prefill", PREFILL_NEVER), PREFILL_TURN);
    assert_int_equal(prefill_named("vllm", PREFILL_NEVER), PREFILL_VLLM);
    assert_int_equal(prefill_named("never", PREFILL_TURN), PREFILL_NEVER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prefill_anthropic_is_its_last_turn),
        cmocka_unit_test(prefill_openai_goes_on_only_when_told),
        cmocka_unit_test(prefill_leaves_white_space_at_the_end_to_be_said_again),
        cmocka_unit_test(prefill_keeps_every_character),
        cmocka_unit_test(prefill_is_not_for_requests_that_begin_otherwise),
        cmocka_unit_test(prefill_words_mean_what_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
