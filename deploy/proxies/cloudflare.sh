#!/usr/bin/env bash
# Cloudflare in front of brokers: what a zone has to be told. Written from its documentation and not run.
# Usage: ZONE=<id> HOST=<name> TOKEN_FILE=<file with an API token for the zone's settings> cloudflare.sh
# By default Cloudflare passes on what it cannot cache piece by piece, HTTP/2 and HTTP/3 are on, and no-transform keeps
# it from compressing. It gives up on a broker that is silent for 100 s: heartbeats come every 15 s (--heartbeat), a long
# poll takes 60 s at most (--max-wait); bare text has no heartbeat, and only the Enterprise plan can allow it more.
set -euo pipefail

: "${ZONE:?}" "${HOST:?}" "${TOKEN_FILE:?}"

api() {
    local method=$1 path=$2 body=$3
    # The token goes in by a file descriptor, so that no list of processes shows it.
    curl -sS --fail-with-body -X "$method" -H @<(printf 'Authorization: Bearer %s' "$(<"$TOKEN_FILE")") \
        -H 'Content-Type: application/json' --data "$body" "https://api.cloudflare.com/client/v4/zones/$ZONE/$path"
}

# What may be cached is collected first: nothing of the API may. This replaces the zone's cache rules; one that has
# others adds this rule to them.
api PUT rulesets/phases/http_request_cache_settings/entrypoint "{\"rules\": [{
  \"description\": \"tokencast: streams are never cached\",
  \"expression\": \"http.host eq \\\"$HOST\\\" and starts_with(http.request.uri.path, \\\"/v1/\\\")\",
  \"action\": \"set_cache_settings\", \"action_parameters\": {\"cache\": false}}]}"

# Off by default, and only on the Enterprise plan it can be on: it would wait for the whole answer.
api PATCH settings/response_buffering '{"value": "off"}' ||
    printf 'response buffering cannot be changed on this plan: it is off\n' >&2
