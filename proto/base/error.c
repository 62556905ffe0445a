/* Texts of the error codes. Any thread. */
#include "tokencast/error.h"

const char *tc_strerror(int code) {
    switch (code) {
    case TC_OK:
        return "success";
#define X(name, value, text)                                                                                           \
    case name:                                                                                                         \
        return text;
        TC_ERRORS(X)
#undef X
    default:
        return "unknown error";
    }
}
