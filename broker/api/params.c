/* See params.h. */
#include "api/params.h"

#include "tokencast/error.h"

#include <stdlib.h>
#include <string.h>

#define SMALL 64

static int parse_include(struct params *p, const char *text, const char **why) {
    static const struct {
        const char *name;
        unsigned bit;
    } kinds[] = {{"text", INCLUDE_TEXT},
                 {"reasoning", INCLUDE_REASONING},
                 {"tools", INCLUDE_TOOLS},
                 {"notes", INCLUDE_NOTES},
                 {"all", INCLUDE_ALL}};
    p->key.include = 0;
    for (const char *at = text; *at != '\0';) {
        size_t n = strcspn(at, ",");
        unsigned bit = 0;
        for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
            if (tc_str_is((struct tc_str){at, n}, kinds[i].name))
                bit = kinds[i].bit;
        if (bit == 0) {
            *why = "include takes a list of text, reasoning, tools, notes, or all";
            return TC_ESYNTAX;
        }
        p->key.include |= bit;
        at += n + (at[n] == ',');
    }
    return 0;
}

static int choose(const char *text, const char *const *words, int *out) {
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            *out = i;
            return 0;
        }
    }
    return TC_ESYNTAX;
}

static int parse_form(struct params *p, const struct http_request *req, const char **why) {
    static const char *const paces[] = {"token", "word", "sentence", "line", NULL};
    static const char *const policies[] = {"drop", "merge", "close", NULL};
    char text[SMALL];
    int choice;
    p->key.include = INCLUDE_ALL;
    int n = http_query(req->query, "include", text, sizeof text);
    if (n != TC_ENOTFOUND && (n < 0 || parse_include(p, text, why) != 0)) {
        *why = "include takes a list of text, reasoning, tools, notes, or all";
        return TC_ESYNTAX;
    }
    n = http_query(req->query, "pace", text, sizeof text);
    if (n != TC_ENOTFOUND) {
        if (n < 0 || choose(text, paces, &choice) != 0) {
            *why = "pace is one of token, word, sentence, line";
            return TC_ESYNTAX;
        }
        p->key.pace = (enum pace)choice;
    }
    p->policy = p->key.dialect->append_only ? SUB_MERGE : SUB_DROP;
    n = http_query(req->query, "overflow", text, sizeof text);
    if (n != TC_ENOTFOUND) {
        if (n < 0 || choose(text, policies, &choice) != 0) {
            *why = "overflow is one of drop, merge, close";
            return TC_ESYNTAX;
        }
        p->policy = (enum sub_policy)choice;
    }
    if (p->key.dialect->append_only && p->policy == SUB_DROP) {
        *why = "bare text cannot say that something was dropped: overflow is merge or close";
        return TC_ESYNTAX;
    }
    return 0;
}

static int parse_after(struct params *p, const struct http_request *req, bool composite, const char **why) {
    *why = "after and Last-Event-ID take a position such as 37-44, as sent in id:";
    struct tc_str last = http_header(req, "last-event-id");
    int n = (int)last.n;
    if (last.n > 0) {
        if (last.n >= sizeof p->after_text)
            return TC_ESYNTAX;
        memcpy(p->after_text, last.p, last.n);
        p->after_text[last.n] = '\0';
    } else {
        n = http_query(req->query, "after", p->after_text, sizeof p->after_text);
        if (n == TC_ENOTFOUND)
            return 0;
        if (n <= 0)
            return TC_ESYNTAX;
    }
    if (strcmp(p->after_text, "now") == 0) {
        p->after_now = true;
        return 0;
    }
    p->has_after = true;
    return composite ? 0 : tc_position_parse(p->after_text, (size_t)n, &p->after);
}

static int parse_numbers(struct params *p, const struct http_request *req, const char **why) {
    char text[SMALL];
    int n = http_query(req->query, "until", text, sizeof text);
    if (n != TC_ENOTFOUND) {
        *why = "until takes a position such as 37-44";
        if (n < 0 || tc_position_parse(text, (size_t)n, &p->until) != 0)
            return TC_ESYNTAX;
        p->has_until = true;
    }
    n = http_query(req->query, "wait", text, sizeof text);
    if (n != TC_ENOTFOUND) {
        char *end = text;
        long long ms = n > 0 ? strtoll(text, &end, 10) : -1;
        *why = "wait is a number of milliseconds";
        if (n <= 0 || *end != '\0' || ms < 0)
            return TC_ESYNTAX;
        p->wait_ms = ms;
    }
    return 0;
}

int params_parse(struct params *p, const struct http_request *req, bool composite, const char **why) {
    memset(p, 0, sizeof *p);
    p->wait_ms = -1;
    p->key.dialect = &dialect_native;
    if (http_accepts(req, "application/x-ndjson"))
        p->key.dialect = &dialect_ndjson;
    else if (http_accepts(req, "text/plain") && !http_accepts(req, "text/event-stream"))
        p->key.dialect = &dialect_text;
    p->key.chunked = !req->http10;
    int err = parse_form(p, req, why);
    if (err == 0)
        err = parse_after(p, req, composite, why);
    if (err == 0)
        err = parse_numbers(p, req, why);
    if (err == 0 && p->wait_ms >= 0 && !http_accepts(req, "application/json"))
        p->wait_ms = -1;
    return err;
}
