/* Names in Redis (docs/protocol.md). The braces keep one generation on one Cluster slot. Pure functions. */
#ifndef TC_WIRE_KEYS_H
#define TC_WIRE_KEYS_H

#include "base/attr.h"
#include "base/str.h"

#include <stdbool.h>
#include <stddef.h>

#define TC_ID_MAX      64  /* generation id, bytes */
#define TC_CHANNEL_MAX 64  /* channel name, bytes */
#define TC_PREFIX_MAX  32  /* key prefix, bytes */
#define TC_KEY_MAX     192 /* any key with its NUL */

/* Generation ids, channel and queue names: [A-Za-z0-9_-]{1,64}. */
bool tc_id_valid(struct tc_str id);
/* Prefixes: 1 to 32 printable ASCII characters without space, braces, quotes. */
bool tc_prefix_valid(struct tc_str prefix);

/* A fresh generation id: "gen_" and 22 base64url characters (128 random bits). out holds TC_ID_MAX + 1. */
void tc_id_make(char *out);

enum tc_key { TC_KEY_LOG, TC_KEY_META, TC_KEY_VIEWERS, TC_KEY_BELL, TC_KEY_CTL };

/* `tc:{<gen>}:log` and its siblings; returns the length. id must be valid. out holds TC_KEY_MAX. */
size_t tc_key_gen(char *out, const char *prefix, enum tc_key which, const char *id);
/* `tc:jobs`, or `tc:jobs:<queue>` when queue is not NULL or empty. */
size_t tc_key_jobs(char *out, const char *prefix, const char *queue);
/* `tc:chan:{<channel>}:log`; bell: `tc:chan:{<channel>}:bell`. */
size_t tc_key_channel(char *out, const char *prefix, const char *channel, bool bell);
/* `tc:secret`: the brokers' common key for ids from Idempotency-Key. */
size_t tc_key_secret(char *out, const char *prefix);
/* `tc:epoch`: random bytes that tell the data in Redis from what was in it before it was lost. */
size_t tc_key_epoch(char *out, const char *prefix);

#endif
