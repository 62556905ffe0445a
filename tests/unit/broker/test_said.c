/* What was told already: the same is left out, other text is refused, whatever it is cut into. */
#include "feed/said.h"

#include "tokencast/error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct said s;
static char told[8192];
static size_t lead; /* characters that every text begins with: with many it is more than is kept */

static int begin(void **state) {
    (void)state;
    said_init(&s, UINT64_C(0x123456789abcdef), true);
    told[0] = '\0';
    return 0;
}

static int begin_long(void **state) {
    lead = 300;
    return begin(state);
}

static int end(void **state) {
    (void)state;
    lead = 0;
    return 0;
}

static int take(const struct tc_event *ev) {
    struct tc_str news;
    int err = said_take(&s, ev, &news);
    if (err == 0)
        strncat(told, news.p != NULL ? news.p : "", news.n);
    return err;
}

static int text(uint64_t offset, const char *piece) {
    char room[1024] = {0};
    size_t before = offset == 0 ? lead : 0;
    memset(room, 'x', before);
    memcpy(room + before, piece, strlen(piece) + 1);
    offset += offset > 0 ? lead : 0;
    return take(&(struct tc_event){.type = TC_EV_DELTA, .offset = offset, .text = tc_str_from(room)});
}

static int attempt(const char *mode, uint64_t kept) {
    return take(&(struct tc_event){.type = TC_EV_ATTEMPT,
                                   .mode = tc_str_from(mode),
                                   .kept = {{.kind = TC_STR("text"), .length = kept}},
                                   .kept_count = 1});
}

static int done(void) {
    return take(&(struct tc_event){.type = TC_EV_DONE});
}

static void said_again_in_other_pieces_is_left_out(void **state) {
    (void)state;
    static const char whole[] = "z\u00fcrich \U0001f600 and on";
    for (size_t cut = 1; cut < strlen(whole); cut++) {
        if (((unsigned char)whole[cut] & 0xc0) == 0x80)
            continue;
        (void)begin(NULL);
        assert_int_equal(text(0, "z\u00fcrich \U0001f600"), 0);
        assert_int_equal(attempt("restart", 0), 0);
        assert_false(said_is_level(&s));
        char first[32] = {0};
        memcpy(first, whole, cut);
        uint64_t units = 0;
        for (const char *p = first; *p != '\0'; p++)
            units += ((unsigned char)*p & 0xc0) != 0x80 ? 1 + ((unsigned char)*p >= 0xf0) : 0;
        assert_int_equal(text(0, first), 0);
        assert_int_equal(text(units, whole + cut), 0);
        assert_int_equal(done(), 0);
        assert_string_equal(told + lead, whole);
    }
}

static void said_otherwise_is_refused(void **state) {
    (void)state;
    assert_int_equal(text(0, "one two"), 0);
    assert_int_equal(said_rewind(&s), 0);
    assert_int_equal(text(0, "one "), 0);
    assert_int_equal(text(4, "ten more"), TC_ESTATE);
}

static void said_less_than_before_is_refused_at_the_end(void **state) {
    (void)state;
    assert_int_equal(text(0, "one two"), 0);
    assert_int_equal(attempt("restart", 0), 0);
    assert_int_equal(text(0, "one"), 0);
    assert_int_equal(done(), TC_ESTATE);
}

static void said_half_a_pair_is_refused(void **state) {
    (void)state;
    assert_int_equal(text(0, "ab"), 0);
    assert_int_equal(said_rewind(&s), 0);
    assert_int_equal(text(0, "a\U0001f600"), TC_ESTATE);
}

static void said_goes_on_behind_white_space_that_was_left_out(void **state) {
    (void)state;
    char long_text[600] = {0};
    memset(long_text, 'x', 500);
    memcpy(long_text + 500, "\u00e4 \n", 4);
    for (int same = 0; same < 2; same++) {
        (void)begin(NULL);
        assert_int_equal(text(0, long_text), 0);
        assert_int_equal(attempt("continue", 501), 0);
        assert_int_equal(text(501, " "), 0);
        assert_int_equal(text(502, same ? "\ny" : "y"), same ? 0 : TC_ESTATE);
        if (same)
            assert_string_equal(told + 504, "y");
    }
    (void)begin(NULL);
    assert_int_equal(text(0, long_text), 0);
    assert_int_equal(attempt("continue", 100), TC_ESTATE); /* further back than is known */
}

static void said_restarted_twice_is_compared_anew(void **state) {
    (void)state;
    assert_int_equal(text(0, "one two"), 0);
    assert_int_equal(attempt("restart", 0), 0);
    assert_int_equal(text(0, "one"), 0);
    assert_int_equal(attempt("restart", 0), 0);
    assert_int_equal(text(0, "one two three"), 0);
    assert_int_equal(done(), 0);
    assert_string_equal(told + lead, "one two three");
}

static void said_from_the_middle_can_only_go_on(void **state) {
    (void)state;
    said_init(&s, 7, false);
    assert_int_equal(text(10, "one two"), 0);
    assert_int_equal(attempt("continue", 13), 0);
    assert_int_equal(text(13, " two three"), 0);
    assert_string_equal(told, "one two three");
    assert_int_equal(attempt("restart", 0), TC_ESTATE);
    assert_int_equal(said_rewind(&s), TC_ESTATE);
}

static void said_joins_only_who_was_told_the_same(void **state) {
    (void)state;
    assert_int_equal(text(0, "one two"), 0);
    struct said same = s, behind = s, other, middle;
    assert_int_equal(said_join(&same, &s), 0);
    assert_int_equal(said_rewind(&behind), 0);
    assert_int_equal(said_join(&behind, &s), TC_EAGAIN);
    assert_int_equal(said_join(&s, &behind), TC_EAGAIN);
    same = behind;
    assert_int_equal(said_join(&behind, &same), 0);
    other = s;
    other.hash++;
    assert_int_equal(said_join(&s, &other), TC_ESTATE);
    said_init(&middle, s.point, false);
    assert_int_equal(said_join(&s, &middle), 0);
    assert_true(s.whole);
    assert_int_equal(said_join(&middle, &s), 0);
    assert_true(middle.whole); /* now it is known */
}

#define BOTH(name)                                                                                                     \
    cmocka_unit_test_setup_teardown(name, begin, end), {                                                               \
#name "_long", name, begin_long, end, NULL                                                                     \
    }

int main(void) {
    const struct CMUnitTest tests[] = {
        BOTH(said_again_in_other_pieces_is_left_out),
        BOTH(said_otherwise_is_refused),
        BOTH(said_less_than_before_is_refused_at_the_end),
        BOTH(said_half_a_pair_is_refused),
        BOTH(said_restarted_twice_is_compared_anew),
        BOTH(said_joins_only_who_was_told_the_same),
        cmocka_unit_test_setup(said_goes_on_behind_white_space_that_was_left_out, begin),
        cmocka_unit_test_setup(said_from_the_middle_can_only_go_on, begin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
