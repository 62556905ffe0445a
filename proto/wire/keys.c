/* Names in Redis; see keys.h. Pure functions but for tc_id_make(), which asks the kernel for random bytes. */
#include "wire/keys.h"

#include "base/base64.h"
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>

static bool is_id_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool tc_id_valid(struct tc_str id) {
    if (id.n == 0 || id.n > TC_ID_MAX)
        return false;
    for (size_t i = 0; i < id.n; i++)
        if (!is_id_char(id.p[i]))
            return false;
    return true;
}

bool tc_prefix_valid(struct tc_str prefix) {
    if (prefix.n == 0 || prefix.n > TC_PREFIX_MAX)
        return false;
    for (size_t i = 0; i < prefix.n; i++) {
        char c = prefix.p[i];
        if (c <= ' ' || c > '~' || c == '{' || c == '}' || c == '"' || c == '\'' || c == '`')
            return false;
    }
    return true;
}

void tc_id_make(char *out) {
    unsigned char random[16];
    tc_random(random, sizeof(random));
    memcpy(out, "gen_", 4);
    out[4 + tc_base64url(out + 4, random, sizeof(random))] = '\0';
}

/* Longest: prefix 32, "chan:{", name 64, "}:bell": far below TC_KEY_MAX, so a cut is a caller's mistake. */
static size_t finish(int n) {
    assert(n > 0 && n < TC_KEY_MAX);
    return (size_t)n;
}

size_t tc_key_gen(char *out, const char *prefix, enum tc_key which, const char *id) {
    static const char *const suffix[] = {[TC_KEY_LOG] = "log",
                                         [TC_KEY_META] = "meta",
                                         [TC_KEY_VIEWERS] = "viewers",
                                         [TC_KEY_BELL] = "bell",
                                         [TC_KEY_CTL] = "ctl"};
    return finish(snprintf(out, TC_KEY_MAX, "%s{%s}:%s", prefix, id, suffix[which]));
}

size_t tc_key_jobs(char *out, const char *prefix, const char *queue) {
    bool named = queue != NULL && *queue != '\0';
    return finish(snprintf(out, TC_KEY_MAX, "%sjobs%s%s", prefix, named ? ":" : "", named ? queue : ""));
}

size_t tc_key_channel(char *out, const char *prefix, const char *channel, bool bell) {
    return finish(snprintf(out, TC_KEY_MAX, "%schan:{%s}:%s", prefix, channel, bell ? "bell" : "log"));
}

size_t tc_key_secret(char *out, const char *prefix) {
    return finish(snprintf(out, TC_KEY_MAX, "%ssecret", prefix));
}

size_t tc_key_epoch(char *out, const char *prefix) {
    return finish(snprintf(out, TC_KEY_MAX, "%sepoch", prefix));
}
