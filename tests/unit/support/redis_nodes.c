/* See redis_nodes.h. */
#include "redis_nodes.h"

#include "redis/slot.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static struct redis_nodes *nodes_of(struct redis_fake_peer *p) {
    return p->fake->arg;
}

static int index_of(struct redis_fake_peer *p) {
    return (int)(p->fake - nodes_of(p)->node);
}

static void sayf(struct redis_fake_peer *p, const char *format, ...) {
    char text[512];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    redis_fake_say(p, text);
}

static bool is_high(unsigned slot) {
    return slot >= TC_SLOTS / 2;
}

static void say_range(struct redis_fake_peer *p, int first, int last, int node) {
    sayf(p, "*3\r\n:%d\r\n:%d\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n", first, last, nodes_of(p)->node[node].port);
}

static void say_slots(struct redis_fake_peer *p) {
    const struct redis_nodes *n = nodes_of(p);
    sayf(p, "*%d\r\n", (n->told.low >= 0) + (n->told.high >= 0));
    if (n->told.low >= 0)
        say_range(p, 0, TC_SLOTS / 2 - 1, n->told.low);
    if (n->told.high >= 0)
        say_range(p, TC_SLOTS / 2, TC_SLOTS - 1, n->told.high);
}

static void say_master(struct redis_fake_peer *p) {
    struct redis_nodes *n = nodes_of(p);
    n->asked++;
    if (n->hung)
        return;
    if (n->master < 0)
        redis_fake_say(p, "*-1\r\n");
    else
        sayf(p, "*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n", snprintf(NULL, 0, "%d", n->node[n->master].port),
             n->node[n->master].port);
}

static void say_state(struct redis_fake_peer *p) {
    struct redis_nodes *n = nodes_of(p);
    n->masters++;
    n->hung = n->hung || !n->flags;
    if (n->hung)
        return;
    if (n->may_not_ask)
        redis_fake_say(p, "-NOPERM this user has no permissions to run the 'sentinel|master' command\r\n");
    else
        sayf(p, "*6\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n$%d\r\n%d\r\n$5\r\nflags\r\n$%zu\r\n%s\r\n",
             snprintf(NULL, 0, "%d", n->node[n->master].port), n->node[n->master].port, strlen(n->flags), n->flags);
}

static void say_info(struct redis_fake_peer *p) {
    struct redis_nodes *n = nodes_of(p);
    if (n->hung)
        return;
    if (n->may_not_ask)
        redis_fake_say(p, "-NOPERM this user has no permissions to run the 'info' command\r\n");
    else
        sayf(p, "$15\r\nsentinel_tilt:%d\r\n", n->tilt);
}

static void say_role(struct redis_fake_peer *p) {
    struct redis_nodes *n = nodes_of(p);
    n->roles++;
    if (n->no_role)
        return;
    if (n->may_not_ask)
        redis_fake_say(p, "-NOPERM this user has no permissions to run the 'role' command\r\n");
    else
        redis_fake_say(p, n->replica[index_of(p)] ? "*1\r\n$5\r\nslave\r\n" : "*1\r\n$6\r\nmaster\r\n");
}

/* A command with a key; true: this node answers it. */
static bool is_owner(struct redis_fake_peer *p, const char *key) {
    struct redis_nodes *n = nodes_of(p);
    unsigned slot = tc_slot_of(tc_str_from(key));
    int owner = is_high(slot) ? n->real.high : n->real.low;
    bool asking = n->asking;
    n->asking = false;
    if (n->circle)
        owner = 1 - index_of(p);
    if (asking || (owner == index_of(p) && n->ask < 0))
        return true;
    if (owner < 0)
        redis_fake_say(p, "-CLUSTERDOWN Hash slot not served\r\n");
    else if (owner == index_of(p))
        sayf(p, "-ASK %u 127.0.0.1:%d\r\n", slot, n->node[n->ask].port);
    else
        sayf(p, "-MOVED %u 127.0.0.1:%d\r\n", slot, n->node[owner].port);
    return false;
}

static void subscribe(struct redis_fake_peer *p, const redisReply *command) {
    const char *verb = redis_fake_is(command, "SSUBSCRIBE") ? "ssubscribe" : "sunsubscribe";
    const char *channel = command->element[1]->str;
    p->subscribed = true;
    if (is_owner(p, channel))
        sayf(p, "*3\r\n$%zu\r\n%s\r\n$%zu\r\n%s\r\n:1\r\n", strlen(verb), verb, strlen(channel), channel);
}

static void answer_key(struct redis_fake_peer *p, const redisReply *command) {
    struct redis_nodes *n = nodes_of(p);
    if (n->mute)
        return;
    if (n->readonly && redis_fake_is(command, "SET"))
        redis_fake_say(p, "-READONLY You can't write against a read only replica.\r\n");
    else if (is_owner(p, command->element[1]->str))
        sayf(p, "$1\r\n%d\r\n", index_of(p));
}

static void on_command(struct redis_fake_peer *p, const redisReply *command) {
    struct redis_nodes *n = nodes_of(p);
    char *heard = n->heard[index_of(p)];
    if (redis_fake_is(command, "CLUSTER")) {
        n->asked++;
        if (n->hold)
            n->held = p;
        else
            say_slots(p);
        return;
    }
    if (redis_fake_is(command, "SENTINEL")) {
        if (strcmp(command->element[1]->str, "MASTER") == 0)
            say_state(p);
        else
            say_master(p);
        return;
    }
    if (redis_fake_is(command, "ROLE")) {
        say_role(p);
        return;
    }
    if (redis_fake_is(command, "INFO")) {
        say_info(p);
        return;
    }
    if (redis_fake_is(command, "PING")) {
        redis_fake_say(p, command->elements == 2 ? "$10\r\nsubscribed\r\n" : "+PONG\r\n");
        return;
    }
    size_t len = strlen(heard);
    snprintf(heard + len, sizeof(n->heard[0]) - len, "%s ", command->element[0]->str);
    if (redis_fake_is(command, "ASKING")) {
        n->asking = true;
        redis_fake_say(p, "+OK\r\n");
    } else if (redis_fake_is(command, "SSUBSCRIBE") || redis_fake_is(command, "SUNSUBSCRIBE")) {
        subscribe(p, command);
    } else if (redis_fake_is(command, "SUBSCRIBE")) {
        sayf(p, "*3\r\n$9\r\nsubscribe\r\n$%zu\r\n%s\r\n:1\r\n", (size_t)command->element[1]->len,
             command->element[1]->str);
    } else if (redis_fake_is(command, "AUTH")) {
        redis_fake_say(p, index_of(p) == 0 ? "-ERR AUTH <password> called without any password configured\r\n"
                                           : "+OK\r\n");
    } else if (redis_fake_is(command, "MULTI")) {
        redis_fake_say(p, "+OK\r\n");
    } else if (redis_fake_is(command, "EXEC")) {
        redis_fake_say(p, "-EXECABORT Transaction discarded because of previous errors.\r\n");
    } else {
        answer_key(p, command);
    }
}

void redis_nodes_start(struct redis_nodes *n, uv_loop_t *loop) {
    memset(n, 0, sizeof(*n));
    for (int i = 0; i < REDIS_NODES; i++) {
        n->node[i].on_command = on_command;
        n->node[i].arg = n;
        n->node[i].nodelay = true;
        redis_fake_start(&n->node[i], loop);
    }
    n->real = n->told = (struct redis_halves){0, 1};
    n->ask = -1;
    n->master = 1;
    n->flags = "master";
    snprintf(n->url, sizeof(n->url), "redis+cluster://127.0.0.1:%d,127.0.0.1:%d", n->node[0].port, n->node[1].port);
}

void redis_nodes_stop(struct redis_nodes *n) {
    for (int i = 0; i < REDIS_NODES; i++)
        redis_fake_stop(&n->node[i]);
}

void redis_nodes_cut(struct redis_nodes *n, int node) {
    for (struct redis_fake_peer *p = n->node[node].peers; p; p = p->next)
        redis_fake_reset(p);
}

void redis_nodes_release(struct redis_nodes *n) {
    n->hold = false;
    say_slots(n->held);
}

const char *redis_nodes_key(bool high) {
    static char keys[2][16];
    char *key = keys[high];
    for (int i = 0; !*key; i++) {
        snprintf(key, sizeof(keys[0]), "k%d", i);
        if (is_high(tc_slot_of(tc_str_from(key))) != high)
            *key = '\0';
    }
    return key;
}
