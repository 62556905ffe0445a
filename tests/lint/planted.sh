#!/usr/bin/env bash
# Checks the checks: it plants each violation alone in a small clean tree and expects layers or style to name it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
bad=0

clean_tree() {
    rm -rf "${tree:?}"/*
    mkdir -p "$tree"/proto/{base,include/tokencast} "$tree"/worker/{run,publish/include/tokencast} "$tree"/broker/feed \
        "$tree"/tests/clients
    printf '#include "base/str.h"\n\n#include <string.h>\n' >"$tree/proto/base/str.c"
    printf 'int tc_str(void);\n' >"$tree/proto/base/str.h"
    printf '#include "tokencast/event.h"\n' >"$tree/proto/base/event.c"
    printf 'int tc_event(void);\n' >"$tree/proto/include/tokencast/event.h"
    printf '#include "tokencast/publish.h"\n' >"$tree/worker/publish/publish.c"
    printf '#include <tokencast/event.h>\n' >"$tree/worker/publish/include/tokencast/publish.h"
    printf '#include "run/job.h"\n#include "base/str.h"\n#include <tokencast/publish.h>\n' >"$tree/worker/run/job.c"
    printf 'int job(void);\n' >"$tree/worker/run/job.h"
    printf '#include "feed/tail.h"\n\n#include "tokencast/event.h"\n' >"$tree/broker/feed/tail.c"
    printf 'int tail(void); /* snprintf(), tc_atoi(), sub_gets() */\n' >"$tree/broker/feed/tail.h"
    printf 'int late(void);\n' | tee "$tree/broker/feed/late.h" >"$tree/proto/include/tokencast/late.h"
    printf '{"packages": {"a": {"integrity": "sha512-x", "funding": {"url": "https://example.org"}}}}\n' \
        >"$tree/tests/clients/package-lock.json"
}

# expect CHECK FILE PHRASE TEXT: with TEXT added to FILE, CHECK fails and its output has PHRASE.
expect() {
    local check=$1 file=$2 phrase=$3 text=$4 output
    clean_tree
    printf '%b\n' "$text" >>"$tree/$file"
    if output=$("$here/$check.sh" "$tree" 2>&1); then
        printf '%s did not see: %s in %s\n' "$check" "$text" "$file"
    elif [[ $output != *"$file"*"$phrase"* ]]; then
        printf '%s failed without "%s" for %s in %s:\n%s\n' "$check" "$phrase" "$text" "$file" "$output"
    else
        return 0
    fi
    bad=$((bad + 1))
}

expect_clean() {
    local check output
    clean_tree
    for check in layers style; do
        output=$("$here/$check.sh" "$tree" 2>&1) && continue
        printf '%s finds fault with a clean tree:\n%s\n' "$check" "$output"
        bad=$((bad + 1))
    done
}

lines() {
    printf 'x\\n%.0s' $(seq "$1")
}

expect_clean
expect layers proto/base/str.c 'may not include' '#include "feed/tail.h"'
expect layers proto/base/str.c 'may not include' '#include "broker/feed/tail.h"'
expect layers proto/base/str.h 'may not include' '#include <tokencast/publish.h>'
expect layers proto/base/str.h 'may not include' '#include "run/job.h"'
expect layers broker/feed/tail.c 'may not include' '#include <tokencast/publish.h>'
expect layers broker/feed/tail.c 'may not include' '  #  include "run/job.h"'
expect layers worker/run/job.c 'may not include' '#include "feed/tail.h"'
expect layers worker/run/job.c 'no such header' '#include "run/nothing.h"'
expect layers broker/feed/tail.h 'climbs' '#include "../feed/tail.h"'
expect layers broker/feed/late.c 'own header' '#include <stdio.h>\n#include "feed/late.h"'
expect layers proto/base/late.c 'own header' '#include <stdio.h>\n#include "tokencast/late.h"'

expect style broker/feed/tail.c '500 lines' "$(lines 500)"
expect style broker/feed/tail.h '160 lines' "$(lines 160)"
for call in strcpy strcat sprintf vsprintf gets strtok atoi atol alloca; do
    expect style worker/run/job.c 'safer twin' "    $call (a, b);"
done
for mark in 'TO''DO' 'FIX''ME' 'X''XX'; do
    expect style broker/feed/tail.c 'left-over' "/* $mark: later */"
    expect style tests/clients/late.mjs 'left-over' "// $mark later"
done
expect style tests/clients/package-lock.json 'registry' '"resolved": "https://registry.example/a.tgz"'
expect style tests/clients/.npmrc 'registry' 'registry=https://registry.example/'

[ "$bad" -eq 0 ] || { printf 'planted: %s checks are blind\n' "$bad" && exit 1; }
