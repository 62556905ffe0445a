/* Answers that several handlers give. */
#include "api/api.h"
#include "base/clock.h"
#include "dialect/dialect.h"
#include "feed/hub.h"
#include "wire/json.h"

#include <stdlib.h>

#define SHUTTING_DOWN "This broker is shutting down."
#define AWAY_RETRY_MS 2000 /* jittered: Redis may be back then */

const char *api_closed(const struct api *a, struct tc_str key) {
    if (a->hub->draining)
        return SHUTTING_DOWN;
    if (a->hub->full)
        return "This broker has no memory to spare.";
    return key.n > 0 && !tc_redis_reaches(a->redis, key) ? "Redis cannot be reached; nothing was begun." : NULL;
}

void api_unavailable(struct api *a, struct http_conn *conn, const char *detail) {
    a->stats.unavailable++;
    struct tc_buf body = {0};
    tc_buf_puts(&body,
                "{\"type\":\"/problems/unavailable\",\"title\":\"Redis is not available\",\"status\":503,\"detail\":");
    tc_json_string(&body, tc_str_from(detail));
    tc_buf_putc(&body, '}');
    http_reply(conn, 503, "application/problem+json", "Retry-After: 1\r\n", tc_buf_str(&body));
    tc_buf_fini(&body);
}

void api_come_back(struct api *a, struct http_conn *conn, const struct dialect *dialect, const char *detail) {
    bool draining = a->hub->draining;
    struct tc_buf body = {0};
    struct dialect_control bye = {.type = "bye"};
    bye.json = draining ? TC_STR("{\"type\":\"bye\",\"reason\":\"drain\"}")
                        : TC_STR("{\"type\":\"bye\",\"reason\":\"unavailable\"}");
    bye.retry_ms = (unsigned)tc_jitter(draining ? a->hub->drain.retry_ms : AWAY_RETRY_MS, 50);
    if (!dialect->append_only) /* that has no word for it, and an empty body would look complete */
        dialect->control(&body, &bye);
    if (body.len == 0 || !tc_buf_ok(&body)) {
        api_unavailable(a, conn, detail);
    } else {
        http_reply(conn, 200, dialect->content_type, "Cache-Control: no-store\r\n", tc_buf_str(&body));
        a->hub->stats.byes_drain += draining;
        a->hub->stats.byes_unavailable += !draining;
    }
    tc_buf_fini(&body);
}

void api_not_found(struct http_conn *conn, const char *id) {
    (void)id;
    http_problem(conn, 404, "not-found", "No such generation", "No generation with this id was ever started here.");
}

void api_gone(struct http_conn *conn, const char *id) {
    (void)id;
    http_problem(conn, 410, "expired", "Generation expired", "This generation existed; its log is no longer kept.");
}

struct absent_op {
    struct tc_redis_inquiry inquiry;
    struct api *api;
    struct http_conn *conn; /* NULL once the peer left */
    bool existed;
};

static void on_gone(void *arg) {
    ((struct absent_op *)arg)->conn = NULL;
}

static void on_confirmed(void *arg, bool confirmed) {
    struct absent_op *op = arg;
    if (op->conn != NULL) {
        http_on_gone(op->conn, NULL, NULL);
        if (!confirmed)
            api_unavailable(op->api, op->conn, "It is not certain which Redis is the master; try again.");
        else if (op->existed)
            api_gone(op->conn, NULL);
        else
            api_not_found(op->conn, NULL);
    }
    free(op);
}

void api_absent(struct api *a, struct http_conn *conn, bool existed) {
    struct absent_op *op = malloc(sizeof *op);
    if (op == NULL) {
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this request.");
        return;
    }
    *op = (struct absent_op){.api = a, .conn = conn, .existed = existed};
    op->inquiry = (struct tc_redis_inquiry){.cb = on_confirmed, .arg = op};
    http_on_gone(conn, on_gone, op);
    tc_redis_confirm(a->redis, &op->inquiry);
}

void api_accepted(struct http_conn *conn, int status, const char *extra, const char *id, const char *state) {
    struct tc_buf body = {0};
    tc_buf_printf(&body,
                  "{\"id\":\"%s\",\"state\":\"%s\",\"url\":\"/v1/generations/%s\","
                  "\"events_url\":\"/v1/generations/%s/events\",\"cancel_url\":\"/v1/generations/%s/cancel\"}",
                  id, state, id, id, id);
    if (tc_buf_ok(&body))
        http_reply(conn, status, "application/json", extra, tc_buf_str(&body));
    else
        http_problem(conn, 503, "no-memory", "Out of memory", "The broker has no memory for this answer.");
    tc_buf_fini(&body);
}
