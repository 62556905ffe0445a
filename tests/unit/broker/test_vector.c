/* Composite positions: their text, and what is refused. */
#include "feed/vector.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int parse(struct vector *v, const char *text) {
    return vector_parse(v, tc_str_from(text));
}

static void assert_text(const struct vector *v, const char *text) {
    struct tc_buf out = {0};
    vector_format(v, &out);
    assert_true(tc_buf_ok(&out));
    assert_int_equal(out.len, strlen(text));
    assert_memory_equal(out.data, text, out.len);
    tc_buf_fini(&out);
}

static void assert_round_trip(const char *text) {
    struct vector v;
    assert_int_equal(parse(&v, text), 0);
    assert_text(&v, text);
}

static void vector_text_reads_back_equal(void **state) {
    (void)state;
    assert_round_trip("0-0");
    assert_round_trip("1790000000000-3");
    assert_round_trip("1790000000000-3~gen_a:1-4");
    assert_round_trip("18446744073709551615-18446744073709551615~a:0-0~b-_9:2-18446744073709551615");
}

static void vector_malformed_text_is_refused(void **state) {
    (void)state;
    static const char *const bad[] = {
        "",           "~",           "1",        "1-2~",        "~a:1-2",
        "1-2~a",      "1-2~a:",      "1-2~:1-2", "1-2~a:1",     "1-2~a:1-2~",
        "1-2~~a:1-2", "1-2~a b:1-2", "01-2",     "1-2 ",        "1-2~a:01-2",
        "now",        "1-2~a:1-2:3", "-1-2",     "1-2~\"a:1-2", "1-2~a:1-99999999999999999999"};
    struct vector v;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(parse(&v, bad[i]), TC_ESYNTAX);
}

static void vector_empty_run_is_refused(void **state) {
    (void)state;
    struct vector v;
    assert_int_equal(vector_parse(&v, (struct tc_str){"", 0}), TC_ESYNTAX);
}

static void vector_naming_a_generation_twice_is_refused(void **state) {
    (void)state;
    struct vector v;
    assert_int_equal(parse(&v, "1-2~a:1-2~b:1-1~a:1-3"), TC_ESYNTAX);
}

static void vector_id_length_is_bounded(void **state) {
    (void)state;
    struct vector v;
    char text[256];
    (void)snprintf(text, sizeof text, "1-2~%064d:1-2", 7);
    assert_int_equal(parse(&v, text), 0);
    assert_int_equal(strlen(v.items[0].id), TC_ID_MAX);
    (void)snprintf(text, sizeof text, "1-2~%065d:1-2", 7);
    assert_int_equal(parse(&v, text), TC_ESYNTAX);
}

static void vector_is_full_at_its_bound(void **state) {
    (void)state;
    struct vector v = {0};
    struct tc_buf text = {0};
    for (int i = 0; i < VECTOR_MAX; i++) {
        char id[TC_ID_MAX + 1];
        (void)snprintf(id, sizeof id, "%064d", i);
        assert_int_equal(vector_set(&v, id, (struct tc_position){UINT64_MAX, UINT64_MAX}), 0);
    }
    assert_int_equal(vector_set(&v, "more", (struct tc_position){1, 1}), TC_EFULL);
    assert_int_equal(vector_set(&v, v.items[3].id, (struct tc_position){1, 1}), 0);
    v.items[3].pos = v.announced = (struct tc_position){UINT64_MAX, UINT64_MAX};
    vector_format(&v, &text);
    assert_true(text.len < VECTOR_TEXT_MAX);
    assert_int_equal(vector_parse(&v, tc_buf_str(&text)), 0);
    assert_int_equal(v.count, VECTOR_MAX);
    tc_buf_puts(&text, "~more:1-1");
    assert_int_equal(vector_parse(&v, tc_buf_str(&text)), TC_ESYNTAX);
    tc_buf_fini(&text);
}

static void vector_item_is_found_moved_and_removed(void **state) {
    (void)state;
    struct vector v;
    assert_int_equal(parse(&v, "5-0~a:1-1~b:1-2~c:1-3"), 0);
    assert_null(vector_find(&v, "d"));
    assert_int_equal(vector_set(&v, "b", (struct tc_position){2, 9}), 0);
    assert_text(&v, "5-0~a:1-1~b:2-9~c:1-3");
    vector_remove(&v, "a");
    vector_remove(&v, "d");
    assert_int_equal(v.count, 2);
    assert_null(vector_find(&v, "a"));
    assert_int_equal(vector_find(&v, "c")->pos.seq, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vector_text_reads_back_equal),
        cmocka_unit_test(vector_malformed_text_is_refused),
        cmocka_unit_test(vector_empty_run_is_refused),
        cmocka_unit_test(vector_naming_a_generation_twice_is_refused),
        cmocka_unit_test(vector_id_length_is_bounded),
        cmocka_unit_test(vector_is_full_at_its_bound),
        cmocka_unit_test(vector_item_is_found_moved_and_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
