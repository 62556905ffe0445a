/* Error codes shared by every tokencast library. A fallible function returns 0 or one of these negative
 * codes; errors of libuv, hiredis, libcurl and OpenSSL are translated where they enter. */
#ifndef TOKENCAST_ERROR_H
#define TOKENCAST_ERROR_H

#define TC_ERRORS(X)                                                                                                   \
    X(TC_ENOMEM, -1, "out of memory")                                                                                  \
    X(TC_EINVAL, -2, "invalid argument")                                                                               \
    X(TC_ERANGE, -3, "value out of range")                                                                             \
    X(TC_ESYNTAX, -4, "malformed input")                                                                               \
    X(TC_ETOOLARGE, -5, "larger than the limit")                                                                       \
    X(TC_ECLOSED, -6, "closed by this side")                                                                           \
    X(TC_ETIMEOUT, -7, "timed out")                                                                                    \
    X(TC_ECONNECT, -8, "cannot connect")                                                                               \
    X(TC_ELINK, -9, "connection lost")                                                                                 \
    X(TC_ETLS, -10, "TLS failure")                                                                                     \
    X(TC_EAUTH, -11, "authentication refused")                                                                         \
    X(TC_EREDIS, -12, "refused by Redis")                                                                              \
    X(TC_ENOTFOUND, -13, "not found")                                                                                  \
    X(TC_EEXISTS, -14, "already exists")                                                                               \
    X(TC_EGONE, -15, "gone: expired, deleted or trimmed")                                                              \
    X(TC_EFENCED, -16, "fenced: a later attempt owns this generation")                                                 \
    X(TC_EFULL, -17, "a bound is reached")                                                                             \
    X(TC_EAGAIN, -18, "not now")                                                                                       \
    X(TC_EPROTO, -19, "peer broke the protocol")                                                                       \
    X(TC_EIO, -20, "input/output error")                                                                               \
    X(TC_ESTATE, -21, "not allowed in this state")                                                                     \
    X(TC_ENOTSUP, -22, "not supported here")

enum tc_error {
    TC_OK = 0,
#define X(name, value, text) name = value,
    TC_ERRORS(X)
#undef X
};

/* The text of a code; a static string, also for unknown codes. Any thread. */
const char *tc_strerror(int code);

#endif
