/* What a client sends to begin a generation, and the parts of a request, with each allocation failing in turn: refused
 * for want of memory and not for its content, or taken whole. */
#include "nomem.h"

#include "api/start_request.h"
#include "http/request.h"
#include "tokencast/error.h"
#include "wire/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BODY                                                                                                           \
    "{\"model\":\"a-model\",\"channel\":\"room\",\"messages\":[{\"role\":\"user\",\"content\":"                        \
    "\"a question that is longer than what a parser's first buffer takes, and then some more of it\"}],"               \
    "\"options\":{\"temperature\":0.5,\"stop\":[\"END\"]}}"

static bool parse(void *arg, enum nomem_mode mode, unsigned n) {
    struct start_request r;
    const char *why = NULL;
    nomem_begin(mode, n);
    int rc = start_request_parse(&r, TC_STR(BODY), &why);
    bool failed = nomem_end();
    if (rc == 0)
        assert_true(tc_str_is(tc_buf_str(&r.request), arg));
    else
        assert_int_equal(rc, TC_ENOMEM); /* not the client's fault */
    assert_true(rc == 0 || failed);
    start_request_fini(&r);
    return failed;
}

static void start_request_without_memory_is_not_called_malformed(void **state) {
    struct start_request r;
    const char *why;
    (void)state;
    assert_int_equal(start_request_parse(&r, TC_STR(BODY), &why), 0);
    tc_buf_putc(&r.request, '\0');
    nomem_each(parse, r.request.data);
    start_request_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_request_without_memory_is_not_called_malformed),
    };
    return cmocka_run_group_tests(tests, nomem_count_json, NULL);
}
