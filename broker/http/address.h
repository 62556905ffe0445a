/* How many connections each peer address holds on this loop. An IPv6 peer counts by its /64, because one host has them
 * all; an IPv4 peer by its address, mapped or not. */
#ifndef BROKER_HTTP_ADDRESS_H
#define BROKER_HTTP_ADDRESS_H

#include "base/attr.h"

#include <stdint.h>
#include <sys/socket.h>

struct http_address; /* an entry; lives while its count is above 0 */

/* Counts one more from `peer` in *table (NULL = empty) unless there are `max`. 0, TC_EFULL or TC_ENOMEM. */
TC_MUST_USE int address_enter(struct http_address **table, const struct sockaddr *peer, int64_t max,
                              struct http_address **out);
/* Takes one off; NULL is accepted. */
void address_leave(struct http_address **table, struct http_address *a);

#endif
