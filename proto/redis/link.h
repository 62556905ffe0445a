/* From what the user configured to what connections need: URL, login, TLS, defaults. At startup; loop thread. */
#ifndef TC_REDIS_LINK_H
#define TC_REDIS_LINK_H

#include "base/attr.h"
#include "redis/conn.h"

/* Borrows opts for the call. On error (logged with its reason) nothing is left to free: TC_ESYNTAX, TC_ERANGE,
 * TC_ETOOLARGE (URL), TC_EIO (password file), TC_EINVAL, TC_ETLS, TC_ENOMEM. */
TC_MUST_USE int tc_link_init(struct tc_link *link, const struct tc_redis_options *opts);
void tc_link_fini(struct tc_link *link); /* accepts zeroed memory; wipes the password */

#endif
