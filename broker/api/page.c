/* The page and its client module, embedded at build time (web_files is generated from broker/web). */
#include "api/api.h"
#include "web/files.h"

#include <string.h>

static const char csp[] =
    "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "
    "'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\nX-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n";

static const char *type_of(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

bool api_page(struct api *a, struct http_conn *conn, const struct http_request *req) {
    (void)a;
    struct tc_str name = req->path;
    if (name.n == 0 || name.p[0] != '/' || (req->method != HTTP_M_GET && req->method != HTTP_M_HEAD))
        return false;
    name.p++;
    name.n--;
    if (name.n == 0)
        name = TC_STR("index.html");
    for (const struct web_file *f = web_files; f->name != NULL; f++) {
        if (tc_str_is(name, f->name)) {
            http_reply(conn, 200, type_of(f->name), csp, (struct tc_str){(const char *)f->data, f->size});
            return true;
        }
    }
    return false;
}
