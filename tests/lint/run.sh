#!/usr/bin/env bash
# The lint suite: tests/lint/run.sh [CHECK...], each check by its name below, all of them without arguments.
# Prints what is wrong, then one line a check: "check ok: NAME" or "check FAILED: NAME". Fails if one failed.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2
# shellcheck source=../../tools/sources.sh
. tools/sources.sh
jobs=${JOBS:-$(nproc)}
build=${TC_LINT_BUILD:-build}

check_format() {
    local tool
    tool=$(clang_format) || return 1
    c_files proto worker broker tests | xargs -0 "$tool" --dry-run -Werror --ferror-limit=3 && return 0
    printf 'with %s; the style is written for version 14. ./dev format repairs it\n' "$("$tool" --version)"
    return 1
}

# The two tiers and proto; tests are full of macros that the analyzer cannot see through.
check_tidy() {
    [ -n "${TC_LINT_BUILD:-}" ] || ./dev build dev >/dev/null || { ./dev build dev | tail -n 40 && return 1; }
    local files
    files=$(jq -r '.[].file' "$build/compile_commands.json" | grep -E "^$PWD/(proto|worker|broker)/" | sort -u)
    [ -n "$files" ] || { printf 'nothing to look at in %s/compile_commands.json\n' "$build" && return 1; }
    printf '%s\n' "$files" | xargs -n 4 -P "$jobs" clang-tidy --quiet -p "$build" 2>&1 |
        grep -vE '^[0-9]+ warnings? (generated|treated)|^Suppressed |^Use -header-filter'
    return "${PIPESTATUS[1]}"
}

check_shellcheck() {
    local script scripts=()
    while IFS= read -r -d '' script; do
        if [[ $script == *.sh ]] || head -n 1 "$script" | grep -qE '^#!.*\b(ba)?sh\b'; then
            scripts+=("$script")
        fi
    done < <(own_files dev .ci tools tests deploy | grep -zE '(^|/)[^.]+$|\.sh$')
    shellcheck -x "${scripts[@]}"
}

check_layers() {
    tests/lint/layers.sh
}

check_style() {
    tests/lint/style.sh
}

check_planted() {
    tests/lint/planted.sh
}

all=(layers style planted shellcheck format tidy)
for name in "$@"; do
    [[ " ${all[*]} " == *" $name "* ]] || { printf 'no check %s: %s\n' "$name" "${all[*]}" >&2 && exit 2; }
done
[ $# -gt 0 ] || set -- "${all[@]}"
failed=0
for name in "$@"; do
    if "check_$name" </dev/null; then
        printf 'check ok: %s\n' "$name"
    else
        printf 'check FAILED: %s\n' "$name"
        failed=$((failed + 1))
    fi
done
[ "$failed" -eq 0 ]
