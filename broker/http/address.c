/* Connections by peer address, in a hash table a server. Loop thread; entries are freed with their last connection. */
#include "http/address.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <tokencast/error.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct http_address {
    uint8_t key[8]; /* 0…0 + IPv4 address, or the first half of an IPv6 address */
    int64_t count;
    UT_hash_handle hh;
};

static void make_key(const struct sockaddr *peer, uint8_t key[8]) {
    memset(key, 0, 8);
    if (peer->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, peer, sizeof(in));
        memcpy(key + 4, &in.sin_addr, 4);
    } else if (peer->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, peer, sizeof(in6));
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
            memcpy(key + 4, in6.sin6_addr.s6_addr + 12, 4);
        else
            memcpy(key, in6.sin6_addr.s6_addr, 8);
    }
}

static struct http_address *add(struct http_address **table, const uint8_t key[8]) {
    struct http_address *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    memcpy(a->key, key, sizeof(a->key));
    HASH_ADD(hh, *table, key, sizeof(a->key), a);
    if (a->hh.tbl == NULL) { /* uthash found no memory */
        free(a);
        return NULL;
    }
    return a;
}

int address_enter(struct http_address **table, const struct sockaddr *peer, int64_t max, struct http_address **out) {
    uint8_t key[8];
    struct http_address *a = NULL;
    make_key(peer, key);
    HASH_FIND(hh, *table, key, sizeof(key), a);
    if (a == NULL)
        a = add(table, key);
    if (a == NULL)
        return TC_ENOMEM;
    if (a->count >= max)
        return TC_EFULL;
    a->count++;
    *out = a;
    return 0;
}

void address_leave(struct http_address **table, struct http_address *a) {
    if (a == NULL || --a->count > 0)
        return;
    HASH_DEL(*table, a);
    free(a);
}
