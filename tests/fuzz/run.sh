#!/usr/bin/env bash
# Builds the fuzz targets and runs each from its seeds: tests/fuzz/run.sh [SECONDS [TARGET...]], 10 seconds and all
# targets without arguments. What they find new is kept in build-fuzz/corpus/, an input that breaks one in
# build-fuzz/broken/. Prints "check ok: TARGET" or "check FAILED: TARGET" for each.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-10}
[ $# -eq 0 ] || shift
targets=("$@")
if [ $# -eq 0 ]; then
    for source in tests/fuzz/fuzz_*.c; do
        [ -e "$source" ] || { printf 'tests/fuzz has no fuzz_*.c\n' >&2 && exit 1; }
        targets+=("$(basename "$source" .c)")
    done
fi
jobs=${JOBS:-$(nproc)}

# One target, in place of the subshell it is called in; to its own log, so that parallel runs stay readable.
fuzz() {
    local target=$1 noun=${1#fuzz_}
    local seeds=tests/fuzz/seeds/$noun options=()
    if [ -z "$(ls -A "$seeds" 2>/dev/null)" ]; then
        printf '%s has no seeds in %s\n' "$target" "$seeds" >"build-fuzz/logs/$target.log"
        return 1
    fi
    [ ! -f "tests/fuzz/$noun.dict" ] || options+=("-dict=tests/fuzz/$noun.dict")
    mkdir -p "build-fuzz/corpus/$noun"
    exec "build-fuzz/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="build-fuzz/broken/$noun-" "${options[@]}" "build-fuzz/corpus/$noun" "$seeds" \
        >"build-fuzz/logs/$target.log" 2>&1
}

cmake --preset fuzz
cmake --build --preset fuzz --parallel "$jobs" --target "${targets[@]}"
mkdir -p build-fuzz/logs build-fuzz/broken
export UBSAN_OPTIONS=print_stacktrace=1

declare -A pids=()
bad=0
collect() {
    local target
    for target in "${!pids[@]}"; do
        if wait "${pids[$target]}"; then
            printf 'check ok: %s, %s runs\n' "$target" \
                "$(sed -n 's/^stat::number_of_executed_units: *//p' "build-fuzz/logs/$target.log")"
        else
            tail -n 60 "build-fuzz/logs/$target.log"
            printf 'check FAILED: %s\n' "$target"
            bad=$((bad + 1))
        fi
    done
    pids=()
}

trap '[ ${#pids[@]} -eq 0 ] || kill "${pids[@]}" 2>/dev/null; exit 130' INT TERM
for target in "${targets[@]}"; do
    fuzz "$target" &
    pids[$target]=$!
    [ ${#pids[@]} -lt "$jobs" ] || collect
done
collect
[ "$bad" -eq 0 ]
