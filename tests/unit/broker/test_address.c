/* Connections by peer address. */
#include "http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <tokencast/error.h>

#include <cmocka.h>

static int enter(struct http_address **table, const char *text, int64_t max, struct http_address **out) {
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } u;
    memset(&u, 0, sizeof(u));
    if (strchr(text, ':')) {
        u.in6.sin6_family = AF_INET6;
        assert_int_equal(inet_pton(AF_INET6, text, &u.in6.sin6_addr), 1);
    } else {
        u.in.sin_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &u.in.sin_addr), 1);
    }
    return address_enter(table, &u.any, max, out);
}

static void address_counts_up_to_its_bound(void **state) {
    (void)state;
    struct http_address *table = NULL, *a, *b, *c, *d;
    assert_int_equal(enter(&table, "10.0.0.1", 2, &a), 0);
    assert_int_equal(enter(&table, "10.0.0.1", 2, &b), 0);
    assert_ptr_equal(a, b);
    assert_int_equal(enter(&table, "10.0.0.1", 2, &c), TC_EFULL);
    assert_int_equal(enter(&table, "10.0.0.2", 2, &d), 0);
    address_leave(&table, a);
    assert_int_equal(enter(&table, "10.0.0.1", 2, &c), 0);
    address_leave(&table, b);
    address_leave(&table, c);
    address_leave(&table, d);
    address_leave(&table, NULL);
    assert_null(table);
}

static void address_v6_counts_by_its_network_and_mapped_v4_by_itself(void **state) {
    (void)state;
    struct http_address *table = NULL, *a, *b, *c, *d, *none;
    assert_int_equal(enter(&table, "2001:db8:0:1::1", 1, &a), 0);
    assert_int_equal(enter(&table, "2001:db8:0:1:ffff::2", 1, &none), TC_EFULL);
    assert_int_equal(enter(&table, "2001:db8:0:2::1", 1, &b), 0);
    assert_int_equal(enter(&table, "::ffff:10.0.0.1", 1, &c), 0);
    assert_int_equal(enter(&table, "10.0.0.1", 1, &none), TC_EFULL);
    assert_int_equal(enter(&table, "::ffff:10.0.0.2", 1, &d), 0);
    address_leave(&table, a);
    address_leave(&table, b);
    address_leave(&table, c);
    address_leave(&table, d);
    assert_null(table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(address_counts_up_to_its_bound),
        cmocka_unit_test(address_v6_counts_by_its_network_and_mapped_v4_by_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
