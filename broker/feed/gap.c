/* See gap.h. */
#include "feed/gap.h"

void gap_json_of(struct tc_buf *out, const char *extra, struct tc_position from, struct tc_position to,
                 uint64_t dropped, const char *reason) {
    char a[TC_POSITION_MAX], b[TC_POSITION_MAX];
    tc_position_format(from, a);
    tc_position_format(to, b);
    tc_buf_printf(out, "{\"type\":\"gap\",%s\"from\":\"%s\",\"to\":\"%s\",\"dropped\":%llu,\"reason\":\"%s\"}",
                  extra != NULL ? extra : "", a, b, (unsigned long long)dropped, reason);
}

void gap_json(struct tc_buf *out, struct tc_position from, struct tc_position to, uint64_t dropped,
              const char *reason) {
    gap_json_of(out, NULL, from, to, dropped, reason);
}

void gap_error_json(struct tc_buf *out, const char *extra, const char *code, const char *message) {
    tc_buf_printf(out, "{\"type\":\"error\",%s\"code\":\"%s\",\"message\":\"%s\",\"recoverable\":false}",
                  extra != NULL ? extra : "", code, message);
}

void gap_done_json(struct tc_buf *out, const char *extra) {
    tc_buf_printf(out, "{\"type\":\"done\",%s\"reason\":\"error\"}", extra != NULL ? extra : "");
}
