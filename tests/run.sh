#!/usr/bin/env bash
# Runs test suites: tests/run.sh [SUITE...]. A suite is one or more steps; a step is one program with a time limit,
# whose counts are read from what it prints. A skipped test, a step without tests and a missing folder are failures.
# The last line on standard output is always "N passed, N failed"; exit 0 only with some passed and none failed.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
jobs=${JOBS:-$(nproc)}
logs=$PWD/build/test-logs
passed=0 failed=0         # of all suites
suite='' suite_passed=0 suite_failed=0
step_pid=''
runner=()                 # what a step's command is started with

# --- what is counted

count() {
    suite_passed=$((suite_passed + $1))
    suite_failed=$((suite_failed + $2))
}

problem() {
    printf 'FAILED: %s\n' "$1" >>"$log"
    count 0 1
}

# The last number that a sed expression finds in the step's output, or nothing.
last_number() {
    sed -nE "$1" "$out" | tail -n 1
}

count_ctest() {
    local bad total skipped
    bad=$(last_number 's/^[0-9]+% tests passed, ([0-9]+) tests? failed out of [0-9]+.*/\1/p')
    total=$(last_number 's/^[0-9]+% tests passed, [0-9]+ tests? failed out of ([0-9]+).*/\1/p')
    if [ -z "$total" ]; then
        problem 'ctest gave no counts'
        return
    fi
    count $((total - bad)) "$bad"
    skipped=$(grep -cE '\*\*\*Skipped|Not Run \(Disabled\)' "$out")
    [ "$skipped" -eq 0 ] || problem "$skipped programs were skipped"
    skipped=$(grep -cE '^\[ +SKIPPED +\] [0-9]+ test' "$build/Testing/Temporary/LastTest.log" 2>/dev/null)
    [ "${skipped:-0}" -eq 0 ] || problem "$skipped programs skipped some of their tests"
}

count_node() {
    local key value
    local -A n=()
    for key in pass fail cancelled skipped todo; do
        value=$(last_number "s/^# $key ([0-9]+)\$/\\1/p")
        if [ -z "$value" ]; then
            problem "node's test runner gave no count '$key'"
            return
        fi
        n[$key]=$value
    done
    count "${n[pass]}" $((n[fail] + n[cancelled] + n[skipped] + n[todo]))
    [ $((n[skipped] + n[todo])) -eq 0 ] || printf 'FAILED: skipped and todo tests count as failed\n' >>"$log"
}

count_checks() {
    count "$(grep -c '^check ok: ' "$out")" "$(grep -c '^check FAILED: ' "$out")"
}

# --- steps

# step KIND SECONDS COMMAND...: runs it in the background, so that a signal to this script reaches us at once and
# `timeout` can end the command with all that it started.
step() {
    local kind=$1 limit=$2 before=$((suite_passed + suite_failed)) failed_before=$suite_failed status
    shift 2
    out=$logs/$suite.step
    printf -- '--- %s\n' "$*" >>"$log"
    timeout -k 10 "$limit" "${runner[@]}" "$@" >"$out" 2>&1 </dev/null &
    step_pid=$!
    wait "$step_pid"
    status=$?
    step_pid=''
    cat "$out" >>"$log"
    case $status in
    124 | 137) problem "the time limit of $limit s has passed" ;;
    esac
    [ "$kind" = none ] || "count_$kind"
    rm -f "$out"
    if [ "$kind" != none ] && [ $((suite_passed + suite_failed)) -eq "$before" ]; then
        problem 'no test ran'
    elif [ "$status" -ne 0 ] && [ "$suite_failed" -eq "$failed_before" ]; then
        problem "ended with status $status"
    fi
    [ "$status" -eq 0 ]
}

# build_preset PRESET: once a run; says in each suite that needs it that it has failed.
declare -A built=()
build_preset() {
    local preset=$1
    if [ -z "${built[$preset]:-}" ]; then
        built[$preset]=no
        step none 900 ./dev build "$preset" && built[$preset]=yes
    elif [ "${built[$preset]}" = no ]; then
        problem "the $preset build has failed before"
    fi
    [ "${built[$preset]}" = yes ]
}

ctest_step() {
    build=$1
    step ctest "$2" ctest --test-dir "$build" --output-on-failure --no-tests=error -j $((2 * jobs)) # they mostly wait
}

# node_step SECONDS FOLDER FILES-AT-ONCE: the folder's *.test.mjs with node's own runner; TC_BUILD says where the programs
# are.
node_step() {
    local limit=$1 folder=$2 at_once=$3 files
    if [ ! -d "$folder" ]; then
        problem "the folder $folder is missing"
        return
    fi
    files=("$folder"/*.test.mjs)
    if [ ! -e "${files[0]}" ]; then
        problem "$folder has no *.test.mjs"
        return
    fi
    step node "$limit" env TC_BUILD="$build" node --test --test-concurrency="$at_once" --test-reporter=tap "${files[@]}"
}

# Whatever a sanitizer wrote about programs that the tests started: their own output goes to the harness.
collect_reports() {
    local report
    for report in "$build"/reports/*; do
        [ -e "$report" ] || continue
        head -n 200 "$report" >>"$log"
        problem "a sanitizer report: ${report##*/}"
    done
}

# Older sanitizers want the address space where it is without randomization, if that may be asked for.
unrandomize() {
    runner=()
    ! setarch "$(uname -m)" -R true 2>/dev/null || runner=(setarch "$(uname -m)" -R)
}

# --- suites

suite_lint() {
    step checks 600 tests/lint/run.sh
}

suite_unit() {
    build_preset dev || return
    ctest_step "$PWD/build" 300
}

# Any folder of *.test.mjs, on the programs of the dev build.
suite_folder() {
    build_preset dev || return
    build=$PWD/build
    node_step 900 "tests/$suite" "${1:-1}"
}

# Mostly waiting, for leases and for one another: two at once.
suite_integration() {
    suite_folder 2
}

suite_chaos() {
    suite_folder 2
}

suite_proxies() {
    suite_folder 2
}

suite_rehearse() {
    suite_folder 2
}

# The protocol's rules, explored by spin.
suite_model() {
    step checks 900 tests/model/run.sh
}

suite_fuzz() {
    unrandomize
    step checks 900 tests/fuzz/run.sh 10
}

# Unit tests, then the faults on real programs; what the sanitizers say of those goes to files, since their own
# standard error belongs to the harness.
sanitized_suite() {
    local to_file
    build=$PWD/build-$suite
    build_preset "$suite" || return
    rm -rf "$build/reports"
    mkdir -p "$build/reports"
    to_file="log_path=$build/reports/$suite"
    export TC_SANITIZED=$suite UBSAN_OPTIONS=print_stacktrace=1 LSAN_OPTIONS=print_suppressions=0
    export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
    export TSAN_OPTIONS=second_deadlock_stack=1
    [ ! -f tests/lsan.supp ] || LSAN_OPTIONS+=:suppressions=$PWD/tests/lsan.supp
    [ ! -f tests/tsan.supp ] || TSAN_OPTIONS+=:suppressions=$PWD/tests/tsan.supp
    unrandomize
    ctest_step "$build" 600
    ASAN_OPTIONS+=:$to_file
    TSAN_OPTIONS+=:$to_file
    node_step 1500 tests/integration 2
    collect_reports
    unset TC_SANITIZED UBSAN_OPTIONS LSAN_OPTIONS ASAN_OPTIONS TSAN_OPTIONS
}

suite_asan() {
    sanitized_suite
}

suite_tsan() {
    sanitized_suite
}

# --- the run

# What to read of a failed suite: our own sentences, the programs that ctest and the tests that node found wrong, the end
# of the log.
show_failure() {
    printf '%s\n' "--- $suite failed; its log: ${log#"$PWD"/}"
    grep -E '^(FAILED|check FAILED): ' "$log" | head -n 40
    awk '/^ *[0-9]+\/[0-9]+ Test +#/{left = /\*\*\*/ ? 120 : 0} /^ +Start +[0-9]+:/{next} left > 0 {print; left--}' "$log" |
        cut -c 1-400 | head -n 400
    awk '/^ *not ok /{left = 40} /^ *ok /{left = 0} left > 0 {print; left--}' "$log" | head -n 200
    printf '%s\n' '--- the end of the log'
    tail -n 80 "$log" | cut -c 1-400
    printf '%s\n' '---'
}

run_suite() {
    suite=$1 suite_passed=0 suite_failed=0 runner=()
    log=$logs/$suite.log
    : >"$log"
    local began=$SECONDS
    printf '%-12s ' "$suite"
    if declare -F "suite_$suite" >/dev/null; then
        "suite_$suite"
    else
        suite_folder
    fi
    printf '%5d passed, %d failed  (%d s)\n' "$suite_passed" "$suite_failed" $((SECONDS - began))
    [ "$suite_failed" -eq 0 ] || show_failure
    passed=$((passed + suite_passed))
    failed=$((failed + suite_failed))
}

# Every suite, the quick ones first; folders of tests that this list does not name come before the sanitizers.
all_suites() {
    local folder name known=' lint unit clients integration browser model fuzz asan tsan '
    printf '%s\n' lint unit clients integration browser
    for folder in tests/*/; do
        name=$(basename "$folder")
        if [[ $known != *" $name "* ]] && compgen -G "$folder*.test.mjs" >/dev/null; then
            printf '%s\n' "$name"
        fi
    done
    printf '%s\n' model fuzz asan tsan
}

finish() {
    [ -z "$step_pid" ] || kill "$step_pid" 2>/dev/null
    printf '%d passed, %d failed\n' "$passed" "$failed"
    [ "$passed" -gt 0 ] && [ "$failed" -eq 0 ]
}

stopped() {
    failed=$((failed + 1))
    printf '\nstopped by a signal in %s\n' "${suite:-the beginning}"
    finish
    exit 130
}

trap stopped INT TERM HUP
mkdir -p "$logs"
for name in "$@"; do
    if ! [[ $name =~ ^[a-z][a-z0-9_-]*$ ]]; then
        printf './dev test: there is no suite "%s": ./dev help lists them\n' "$name" >&2
        failed=1
        finish
        exit 1
    fi
done
if ! ./dev deps test >"$logs/deps.log" 2>&1; then
    tail -n 40 "$logs/deps.log"
    failed=1
    finish
    exit 1
fi
if [ $# -eq 0 ]; then
    mapfile -t names < <(all_suites)
    set -- "${names[@]}"
fi
for name in "$@"; do
    run_suite "$name"
done
finish
