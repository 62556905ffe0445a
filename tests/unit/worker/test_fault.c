/* Errors in every shape that servers send, and what of their words people may see. */
#include "provider/fault.h"
#include "provider/foreign.h"

#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static bool read_fault(struct fault *f, const char *json, bool sure, json_t **root) {
    *root = foreign_json(tc_str_from(json));
    assert_non_null(*root);
    return fault_read(f, *root, sure);
}

static void check(const char *json, const char *message, int64_t status, bool recoverable) {
    struct fault f;
    json_t *root;

    assert_true(read_fault(&f, json, false, &root));
    assert_true(tc_str_is(f.message, message));
    assert_int_equal(f.status, status);
    assert_int_equal(f.recoverable, recoverable);
    json_decref(root);
}

static void every_shape_of_error_is_read(void **state) {
    (void)state;
    check("{\"error\":{\"message\":\"m\",\"type\":\"server_error\",\"code\":null}}", "m", 0, true);
    check("{\"error\":{\"message\":\"m\",\"type\":\"invalid_request_error\"}}", "m", 0, false);
    check("{\"error\":{\"message\":\"m\",\"code\":\"429\"}}", "m", 429, true);
    check("{\"error\":{\"message\":\"m\",\"http_status_code\":422}}", "m", 422, false);
    check("{\"error\":\"m\",\"error_type\":\"validation\"}", "m", 0, false);
    check("{\"error\":\"m\",\"error_type\":\"overloaded\"}", "m", 0, true);
    check("{\"object\":\"error\",\"message\":\"m\",\"code\":500}", "m", 500, true);
    check("{\"message\":\"m\",\"type\":\"x\"}", "m", 0, true);
}

static void chunks_are_no_errors(void **state) {
    static const char *const fine[] = {"{}", "{\"error\":null,\"choices\":[]}",
                                       "{\"choices\":[],\"message\":\"m\",\"type\":\"t\"}"};
    struct fault f;
    json_t *root;

    (void)state;
    for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++) {
        assert_false(read_fault(&f, fine[i], false, &root));
        json_decref(root);
    }
}

static void bodies_of_fastapi_are_read_when_it_is_an_error_for_sure(void **state) {
    struct fault f;
    json_t *root;

    (void)state;
    assert_true(read_fault(&f, "{\"detail\":\"Not Found\"}", true, &root));
    assert_true(tc_str_is(f.message, "Not Found"));
    json_decref(root);
    assert_true(read_fault(&f, "{\"detail\":[{\"loc\":[],\"msg\":\"field required\"}]}", true, &root));
    assert_true(tc_str_is(f.message, "field required"));
    json_decref(root);
}

static void scrub(const char *text, const char *secret, size_t max, const char *want) {
    struct tc_buf out;

    tc_buf_init(&out, 0);
    fault_scrub(&out, tc_str_from(text), secret, max);
    tc_buf_putc(&out, 0);
    assert_string_equal(out.data, want);
    tc_buf_fini(&out);
}

static void secrets_are_taken_out(void **state) {
    (void)state;
    scrub("key hf_abcdefgh1234 is bad", "hf_abcdefgh1234", 100, "key *** is bad");
    scrub("Incorrect API key provided: sk-proj-ab***xy.", NULL, 100, "Incorrect API key provided: ***");
    scrub("got Bearer eyJhbGci.x", NULL, 100, "got ***");
    scrub("a risk-averse task-list", NULL, 100, "a risk-averse task-list");
}

static void words_are_cut_between_characters(void **state) {
    (void)state;
    scrub("gr\xc3\xbc\xc3\x9f"
          "e",
          NULL, 3, "gr");
    scrub("a\r\nb\x01\xff", NULL, 100, "a  b  ");
}

static void descriptions_leave_out_what_is_the_operators(void **state) {
    static const struct {
        long status;
        const char *body, *want;
    } cases[] = {
        {503, "<html>", "The model server answered 503."},
        {400, "{\"error\":{\"message\":\"no field key-12345\"}}", "The model server answered 400: no field ***"},
        {401, "{\"error\":{\"message\":\"bad key\"}}", "The model server refused the worker's key (401)."},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tc_buf out;
        tc_buf_init(&out, 0);
        fault_describe(&out, cases[i].status, tc_str_from(cases[i].body), "key-12345");
        assert_true(tc_str_is(tc_buf_str(&out), cases[i].want));
        tc_buf_fini(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_shape_of_error_is_read),
        cmocka_unit_test(chunks_are_no_errors),
        cmocka_unit_test(bodies_of_fastapi_are_read_when_it_is_an_error_for_sure),
        cmocka_unit_test(secrets_are_taken_out),
        cmocka_unit_test(words_are_cut_between_characters),
        cmocka_unit_test(descriptions_leave_out_what_is_the_operators),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
