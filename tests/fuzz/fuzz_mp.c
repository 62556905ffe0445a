/* One MessagePack value from foreign bytes: passing it, writing it as JSON, and jansson agree about it. */
#include "base/utf8.h"
#include "tokencast/error.h"
#include "wire/json.h"
#include "wire/mp.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds) {
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct tc_mp pass = {data, data + size}, write = pass, tokens = pass;
    struct tc_mp_value v;
    struct tc_buf out;
    while (tc_mp_next(&tokens, &v) == 0)
        must(tokens.p <= tokens.end);
    tc_buf_init(&out, 0);
    int err = tc_mp_skip(&pass, 16);
    must(err == tc_mp_to_json(&write, &out, 16));
    if (err == 0) {
        must(pass.p == write.p && pass.p > data && pass.p <= pass.end);
        must(tc_utf8_valid(tc_buf_str(&out)));
        json_t *value = tc_mp_to_jansson((struct tc_str){(const char *)data, (size_t)(pass.p - data)});
        if (value != NULL) {
            tc_buf_reset(&out);
            tc_json_to_mp(&out, value);
            must(tc_buf_ok(&out));
        }
        json_decref(value);
    } else {
        must(tc_mp_to_jansson((struct tc_str){(const char *)data, size}) == NULL);
    }
    tc_buf_fini(&out);
    return 0;
}
