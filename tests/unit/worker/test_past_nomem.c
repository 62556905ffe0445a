/* What a takeover reads of the log with each allocation failing in turn: it knows the whole text, or says why it does
 * not, and then nothing goes on behind a hole. */
#include "nomem.h"

#include "run/past.h"
#include "tokencast/error.h"
#include "wire_support.h"

#include <stdio.h>

#define DELTAS 12

static struct tc_buf entries[DELTAS + 1]; /* `created`, then the text */
static char whole[1024];

static int write_log(void **state) {
    size_t n = 0;
    (void)state;
    tc_event_encode(&entries[0], &(struct tc_event){.type = TC_EV_CREATED, .model = TC_STR("m")});
    for (int i = 1; i <= DELTAS; i++) {
        char text[48];
        int len = snprintf(text, sizeof text, "piece %d, of some length; ", i);
        tc_event_encode(&entries[i], &(struct tc_event){.type = TC_EV_DELTA, .offset = n, .text = {text, (size_t)len}});
        n += (size_t)snprintf(whole + n, sizeof whole - n, "%s", text);
    }
    return 0;
}

static int drop_log(void **state) {
    (void)state;
    for (size_t i = 0; i <= DELTAS; i++)
        tc_buf_fini(&entries[i]);
    return 0;
}

static bool read_log(void *arg, enum nomem_mode mode, unsigned n) {
    struct past p;
    struct past_keeps keeps;
    const char *why = NULL;
    (void)arg;
    past_init(&p, 100000);
    nomem_begin(mode, n);
    for (uint64_t i = 0; i <= DELTAS; i++) {
        struct tc_reply_entry e = {.position = {i > 0, i + 1}, .has_e = true, .e = tc_buf_str(&entries[i])};
        past_take(&p, &e);
    }
    past_end(&p, (struct tc_position){1, DELTAS + 1});
    bool failed = nomem_end();
    if (failed) {
        assert_false(past_keep(&p, NULL, NULL, &keeps, &why));
        assert_string_equal(why, "out of memory");
    } else {
        assert_null(p.flaw);
        assert_str(tc_fold_text(&p.fold, TC_KIND_TEXT, 0), whole);
    }
    past_fini(&p);
    return failed;
}

static void past_read_without_memory_is_not_gone_on_from(void **state) {
    (void)state;
    nomem_each(read_log, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(past_read_without_memory_is_not_gone_on_from, write_log, drop_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
