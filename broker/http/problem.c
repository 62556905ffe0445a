/* Errors as RFC 9457 problem documents. Loop thread. */
#include "http/http.h"

#include "base/buf.h"
#include "wire/json.h"

void http_problem(struct http_conn *conn, int status, const char *slug, const char *title, const char *detail) {
    struct tc_buf body;
    tc_buf_init(&body, 16 * 1024);
    tc_buf_puts(&body, "{\"type\":\"");
    tc_buf_puts(&body, slug ? "/problems/" : "about:blank");
    tc_buf_puts(&body, slug ? slug : "");
    tc_buf_puts(&body, "\",\"title\":");
    tc_json_string(&body, tc_str_from(title));
    tc_buf_printf(&body, ",\"status\":%d", status);
    if (detail) {
        tc_buf_puts(&body, ",\"detail\":");
        tc_json_string(&body, tc_str_from(detail));
    }
    tc_buf_puts(&body, "}\n");
    /* Without memory, or with a detail beyond all bounds, the status must do. */
    http_reply(conn, status, "application/problem+json", NULL, tc_buf_ok(&body) ? tc_buf_str(&body) : TC_STR("{}\n"));
    tc_buf_fini(&body);
}
