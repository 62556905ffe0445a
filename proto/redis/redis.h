/* Redis for one libuv loop: commands pipelined in order, publish/subscribe, reconnection; one server, the master that
 * Sentinel names, or a Cluster. This is the one place that decides which link a key goes to; callers name the key and
 * never hold a connection. Loop thread only.
 *
 * Happy path: create -> (connecting) -> on_up -> commands and subscriptions. A lost link fails every command in
 * flight once with TC_ELINK (their effect is unknown), calls on_down, reconnects with back-off and jitter, subscribes
 * again, and calls on_up. Commands while down fail at once (return value, no callback): nothing is queued here, since
 * only the caller knows whether repeating is right.
 *
 * A master that was replaced counts as a lost link, even if its connection survives: what was acknowledged may be
 * gone. In a Cluster each master has links of its own, a connection more asks where things are, and a command that
 * meets a slot on the move is repeated at its new owner, except within MULTI, which fails with TC_ELINK as a whole,
 * and XADD … NOMKSTREAM, which gets the error MOVED. */
#ifndef TC_REDIS_REDIS_H
#define TC_REDIS_REDIS_H

#include "base/attr.h"
#include "base/str.h"

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct tc_redis;

struct tc_redis_options {
    const char *url;                  /* the forms in url.h; borrowed during create */
    const char *password_file;        /* NULL = none; read at create; wins over the URL's password */
    const char *ca_file;              /* NULL = the system's; PEM */
    const char *cert_file, *key_file; /* client certificate; both or neither */
    bool tls_insecure;                /* do not verify the server (tests) */
    const char *client_name;          /* CLIENT SETNAME; NULL = none */
    int64_t connect_timeout_ms;       /* TCP, TLS and handshake together; 0 = 5,000 */
    /* The link counts as lost when not a byte has come for so long while a command waits for its answer, and when an
     * answer is not whole within ten times that; 0 = 5,000. */
    int64_t command_timeout_ms;
    int64_t backoff_min_ms, backoff_max_ms; /* 0 = 50 and 2,000 */
    size_t max_in_flight;                   /* commands; 0 = 100,000; beyond it TC_EFULL */
    size_t max_out_bytes;                   /* not yet taken by the kernel; 0 = 64 MiB; beyond it TC_EFULL */
    bool pubsub;                            /* also keep a second connection to each server, for subscriptions */
};

/* Counters for metrics; only ever rise. */
struct tc_redis_stats {
    uint64_t connects, losses, commands, errors, timeouts, messages;
};

/* Starts connecting. A malformed URL, unreadable file or bad certificate is an error here (logged with its reason);
 * a server that is away is not. */
TC_MUST_USE int tc_redis_create(struct tc_redis **out, uv_loop_t *loop, const struct tc_redis_options *opts);

/* Irreversible. Fails what is in flight with TC_ECLOSED, then calls cb once from the loop; the memory is gone after
 * it. Subscriptions and watches are detached without a call. cb may be NULL. */
void tc_redis_close(struct tc_redis *r, void (*cb)(void *arg), void *arg);

/* All links are usable, subscriptions included, and every key has one. Commands are taken a little earlier: as soon as
 * the link that they go to is there. Subscriptions are sent only then, so that on_ready, which comes before on_up, can
 * send commands; should their link have been lost in between, they are refused and on_up follows. */
bool tc_redis_is_up(const struct tc_redis *r);
/* The server that has this key is up, for commands and subscriptions. */
bool tc_redis_reaches(const struct tc_redis *r, struct tc_str key);
/* Some of it can be used: all is up, or in a Cluster at least one master is, once the others have had a moment to come
 * up as well. */
bool tc_redis_is_usable(const struct tc_redis *r);
const struct tc_redis_stats *tc_redis_stats(const struct tc_redis *r);

/* Each call may be NULL. Told of every change of is_up; in a Cluster on_down also comes for each further master that is
 * lost meanwhile, and the keys of the others stay usable all the time. on_up follows when all are back: whoever has
 * seen TC_ELINK can rely on it. Caller's memory, linked in until removed. Callbacks may send commands. */
struct tc_redis_watch {
    void (*on_up)(void *arg);
    void (*on_down)(void *arg, int err);
    /* Something may be reached that was not, or the other way round; after on_up and on_down. */
    void (*on_change)(void *arg);
    void *arg;
    struct tc_redis_watch *prev, *next; /* private; zero before the first use */
};
void tc_redis_watch_add(struct tc_redis *r, struct tc_redis_watch *w); /* on_up is not called for the present state */
void tc_redis_watch_remove(struct tc_redis *r, struct tc_redis_watch *w); /* idempotent; allowed in callbacks */

/* Exactly once per accepted command, always later from the loop, in the order of sending. err 0: reply is borrowed for
 * the call and may be a REDIS_REPLY_ERROR; otherwise TC_ELINK, TC_ETIMEOUT or TC_ECLOSED and reply is NULL. */
typedef void (*tc_redis_reply_cb)(void *arg, int err, const redisReply *reply);

/* Sends one command; `key` routes it. Commands with keys of one {tag} sent one after another in one loop turn stay
 * adjacent and in order (MULTI … EXEC relies on it). cb may be NULL. 0, or TC_ELINK while down, TC_EFULL, TC_ENOMEM:
 * then nothing was sent and cb is not called. */
TC_MUST_USE int tc_redis_command_argv(struct tc_redis *r, struct tc_str key, tc_redis_reply_cb cb, void *arg, int argc,
                                      const char **argv, const size_t *argvlen);
/* The format of redis/words.h: %s, %b (pointer, size_t), %d …; TC_EINVAL where it is not. */
TC_MUST_USE int tc_redis_command(struct tc_redis *r, struct tc_str key, tc_redis_reply_cb cb, void *arg,
                                 const char *format, ...);

/* All who offer bytes for a key agree on those of the first: SET NX, then GET, whose reply cb gets. Errors as above;
 * after one the offer may have been sent, which does no harm: it is made again with the next. */
TC_MUST_USE int tc_redis_agree(struct tc_redis *r, tc_redis_reply_cb cb, void *arg, const char *key, const void *offer,
                               size_t n);

/* PUBLISH, in a Cluster SPUBLISH; nobody is told what comes of it. `route` is a key with the channel's {tag}, among
 * whose commands it keeps its place. */
TC_MUST_USE int tc_redis_publish(struct tc_redis *r, struct tc_str route, const char *channel, struct tc_str payload);

/* Whether "there is no such key" may be believed. With Sentinel the link may still lead to a master that was replaced:
 * the server is asked for its role, and a sentinel whether it is the master and well. (A master and a sentinel that
 * are cut off together believe in each other; nothing tells them from good ones.) Elsewhere nothing needs to be asked:
 * a Cluster's former masters say MOVED. */
struct tc_redis_inquiry {
    void (*cb)(void *arg, bool confirmed); /* once, later or at once; false also if it is not known */
    void *arg;
    struct tc_redis_inquiry *prev, *next; /* private */
};
/* Call it from the reply's callback: it is that server which is asked about. The memory is lent until cb. */
void tc_redis_confirm(struct tc_redis *r, struct tc_redis_inquiry *q);

#define TC_REDIS_DEPTHS 5

/* A subscription to one channel, in the caller's memory until removed. Several to one channel share one SUBSCRIBE. */
struct tc_redis_sub {
    void (*on_message)(void *arg, struct tc_str payload); /* borrowed for the call */
    /* A message is about to come, with others: time to ask for the memory that it will touch (base/prefetch.h), with
     * each depth, from 0 to TC_REDIS_DEPTHS - 1, one pointer further. Must change nothing. May be NULL. */
    void (*ahead)(void *arg, unsigned depth);
    void (*on_ready)(
        void *arg); /* Redis has confirmed; again after every reconnection and every move: what came between is lost */
    void *arg;
    void *channel;                    /* private; zero before the first use */
    uint64_t ticket;                  /* private */
    struct tc_redis_sub *prev, *next; /* private */
};
/* on_ready is always called later, never from here; on_message never before it. Needs opts.pubsub. While down it is
 * only noted. TC_ENOMEM, TC_EFULL, TC_ECLOSED: then sub is not linked in. */
TC_MUST_USE int tc_redis_subscribe(struct tc_redis *r, struct tc_redis_sub *sub, const char *channel);
void tc_redis_unsubscribe(struct tc_redis *r, struct tc_redis_sub *sub); /* idempotent; allowed in its callbacks */

#endif
