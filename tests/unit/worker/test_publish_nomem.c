/* A writer with each allocation failing in turn: what is refused is told to whoever said it, and the log holds exactly
 * what was accepted, in order and once. */
#include "nomem.h"

#include "base/log.h"
#include "publish/outbox.h"
#include "publish/tool.h"
#include "publish/window.h"
#include "publish_pen.h"
#include "tokencast/error.h"
#include "wire/json.h"
#include "wire_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct publish_rig rig;

/* ---- opening ---- */

static const char *generation(char *id, size_t size, const char *name, enum nomem_mode mode, unsigned n) {
    snprintf(id, size, "%s_%d_%u", name, (int)mode, n);
    return id;
}

static bool is_open(void *arg) {
    const struct pen *p = arg;
    return p->opened;
}

static bool is_over(void *arg) {
    const struct pen *p = arg;
    return p->finished || p->lost;
}

static void leave(struct pen *p) {
    if (p->w) {
        tc_writer_close(p->w, pen_on_closed, p);
        publish_rig_until(&rig, &p->closed);
    }
    tc_publisher_destroy(p->publisher);
}

static bool open_one(void *arg, enum nomem_mode mode, unsigned n) {
    struct pen p = {.rig = &rig};
    char id[32];
    (void)arg;
    publish_rig_create(&rig, generation(id, sizeof id, "open", mode, n), 0);
    nomem_begin(mode, n);
    int rc = tc_publisher_create(&p.publisher, &rig.loop, rig.redis, NULL);
    if (rc == 0)
        rc = tc_writer_open(&p.w, p.publisher, id, false, "m", "", &pen_callbacks, &p);
    publish_rig_run(&rig, 4);
    bool failed = nomem_end();
    if (rc != 0) {
        assert_int_equal(rc, TC_ENOMEM);
        assert_false(p.opened); /* nothing was scheduled */
        p.w = NULL;
        leave(&p);
        return failed;
    }
    publish_rig_until_true(&rig, is_open, &p);
    if (p.open_err == 0) {
        pen_say(&p, "a word");
        assert_int_equal(tc_writer_finish(p.w, "stop", TC_STR("")), 0);
        publish_rig_until_true(&rig, is_over, &p);
        assert_true(p.finished);
        assert_string_equal(publish_rig_text(&rig, id), "a word");
    }
    leave(&p);
    return failed;
}

static void writer_opened_without_memory_is_refused_or_opens_later(void **state) {
    (void)state;
    nomem_each(open_one, NULL);
}

/* ---- saying ---- */

struct saying {
    struct pen pen;
    struct tc_buf accepted; /* the text that the writer took */
};

static void say(struct saying *s, const char *text) {
    int rc = tc_writer_text(s->pen.w, TC_KIND_TEXT, 0, tc_str_from(text));
    assert_true(rc == 0 || rc == TC_ENOMEM);
    nomem_pause();
    if (rc == 0)
        tc_buf_puts(&s->accepted, text);
    nomem_resume();
}

static bool say_all(void *arg, enum nomem_mode mode, unsigned n) {
    struct saying s = {.pen = {.rig = &rig}};
    struct pen *p = &s.pen;
    char id[32];
    (void)arg;
    publish_rig_create(&rig, generation(id, sizeof id, "say", mode, n), 0);
    assert_int_equal(tc_publisher_create(&p->publisher, &rig.loop, rig.redis, NULL), 0);
    assert_int_equal(tc_writer_open(&p->w, p->publisher, id, false, "m", "", &pen_callbacks, p), 0);
    publish_rig_until_true(&rig, is_open, p);
    nomem_begin(mode, n);
    int rc = tc_writer_start(p->w, "m", "test");
    assert_true(rc == 0 || rc == TC_ENOMEM);
    say(&s, "first ");
    say(&s, "and more, which waits ");
    rc = tc_writer_tool_call(p->w, 0, TC_STR("call_1"), TC_STR("weather"), TC_STR("{\"city\":"), false);
    int rest = rc ? rc : tc_writer_tool_call(p->w, 0, TC_STR(""), TC_STR(""), TC_STR("\"Bern\"}"), true);
    say(&s, "behind the tool ");
    publish_rig_run(&rig, 3);
    say(&s, "at last.");
    publish_rig_run(&rig, 3);
    bool failed = nomem_end();
    assert_true(rest == 0 || rest == TC_ENOMEM);
    assert_false(p->lost);
    assert_int_equal(tc_writer_finish(p->w, "stop", TC_STR("")), 0);
    publish_rig_until_true(&rig, is_over, p);
    assert_true(p->finished);
    tc_buf_putc(&s.accepted, '\0');
    assert_string_equal(publish_rig_text(&rig, id), s.accepted.data);
    if (strstr(publish_rig_log(&rig, id), "invalid"))
        fail_msg("valid arguments were called invalid:\n%s", publish_rig_log(&rig, id));
    assert_int_equal(strstr(publish_rig_log(&rig, id), "done {\"city\":\"Bern\"}") != NULL ||
                         strstr(publish_rig_log(&rig, id), "done \"Bern\"}") != NULL,
                     rest == 0);
    tc_buf_fini(&s.accepted);
    leave(p);
    return failed;
}

static void writer_without_memory_refuses_what_it_cannot_hold(void **state) {
    (void)state;
    nomem_each(say_all, NULL);
}

/* ---- its parts ---- */

static bool collect(void *arg, enum nomem_mode mode, unsigned n) {
    struct outbox o;
    struct tc_buf got = {0}, want = {0}, entry = {0};
    (void)arg;
    unsigned refused = 0;
    outbox_init(&o, 1, 0);
    nomem_begin(mode, n);
    for (unsigned i = 0; i < 12; i++) {
        static const char text[] = "a piece that is so long that the buffer grows with it now and then ";
        nomem_pause();
        uint64_t offset = want.len;
        nomem_resume();
        int rc = outbox_text(&o, TC_KIND_TEXT, i / 6, i / 6 ? 0 : offset, tc_str_from(text), 1, 1);
        assert_true(rc == 0 || rc == TC_ENOMEM);
        nomem_pause();
        if (rc == 0)
            tc_buf_puts(&want, text);
        refused += rc != 0;
        nomem_resume();
        if (i % 4 == 3 && !outbox_is_empty(&o) && outbox_peek(&o, &entry) == 0) {
            struct tc_event ev;
            assert_int_equal(tc_event_decode(entry.data, entry.len, &ev), 0);
            nomem_pause();
            tc_buf_put_str(&got, ev.text);
            nomem_resume();
            outbox_drop(&o);
        }
    }
    bool failed = nomem_end();
    while (!outbox_is_empty(&o)) {
        struct tc_event ev;
        assert_int_equal(outbox_peek(&o, &entry), 0);
        assert_int_equal(tc_event_decode(entry.data, entry.len, &ev), 0);
        tc_buf_put_str(&got, ev.text);
        outbox_drop(&o);
    }
    assert_int_equal(o.bytes, 0);
    assert_true(mode == NOMEM_FROM || refused <= 1); /* one failure is not held against what comes next */
    assert_true(tc_str_eq(tc_buf_str(&got), tc_buf_str(&want)));
    outbox_fini(&o);
    tc_buf_fini(&got);
    tc_buf_fini(&want);
    tc_buf_fini(&entry);
    return failed;
}

static void outbox_without_memory_gives_out_what_it_took(void **state) {
    (void)state;
    nomem_each(collect, NULL);
}

static bool finish_tool(void *arg, enum nomem_mode mode, unsigned n) {
    struct tools t = {0};
    uint64_t offset;
    bool invalid = false;
    (void)arg;
    nomem_begin(mode, n);
    int rc = tools_append(&t, 0, TC_STR("{\"a\":[1,2,{\"b\":\"c\"}]}"), &offset);
    if (rc == 0)
        rc = tools_finish(&t, 0, &invalid);
    bool failed = nomem_end();
    assert_true(rc == 0 || (failed && rc == TC_ENOMEM));
    assert_false(invalid); /* whether it is JSON is not known */
    if (rc != 0 && !tools_is_empty(&t, 0)) {
        assert_int_equal(tools_finish(&t, 0, &invalid), 0); /* can be asked again */
        assert_false(invalid);
    }
    tools_fini(&t);
    return failed;
}

static void tool_finished_without_memory_is_not_called_invalid(void **state) {
    (void)state;
    nomem_each(finish_tool, NULL);
}

static bool fill_window(void *arg, enum nomem_mode mode, unsigned n) {
    struct window w;
    struct window_entry *e;
    unsigned taken = 0;
    (void)arg;
    window_init(&w, 5, 1000, 1000000);
    nomem_begin(mode, n);
    for (int i = 0; i < 3; i++)
        taken += window_push(&w, TC_STR("entry"), &e) == 0;
    bool failed = nomem_end();
    assert_int_equal(window_last(&w), 5 + taken); /* no hole in what will be written */
    assert_int_equal(taken == 3, !failed);
    window_fini(&w);
    return failed;
}

static void window_without_memory_has_no_hole(void **state) {
    (void)state;
    nomem_each(fill_window, NULL);
}

static int begin(void **state) {
    (void)state;
    tc_json_count_failures();
    publish_rig_init(&rig);
    return 0;
}

static int end(void **state) {
    (void)state;
    publish_rig_fini(&rig);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outbox_without_memory_gives_out_what_it_took),
        cmocka_unit_test(tool_finished_without_memory_is_not_called_invalid),
        cmocka_unit_test(window_without_memory_has_no_hole),
        cmocka_unit_test(writer_opened_without_memory_is_refused_or_opens_later),
        cmocka_unit_test(writer_without_memory_refuses_what_it_cannot_hold),
    };
    tc_log_setup("test", TC_LOG_ERROR, 0);
    return cmocka_run_group_tests(tests, begin, end);
}
