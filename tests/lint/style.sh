#!/usr/bin/env bash
# What a script can check of the style: tests/lint/style.sh [TREE]. Lengths of files, calls that have safer twins,
# left-over marks, and lock files that name a registry.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "${1:-$here}"
# shellcheck source=../../tools/sources.sh
. "$here/tools/sources.sh"

bad=0
# Counts and shows the lines on its input, each a finding; $1 says what they are.
report() {
    local line
    while IFS= read -r line; do
        printf '%s: %s\n' "$line" "$1"
        bad=$((bad + 1))
    done
}

# search PATTERN: file:line:text of every match in the NUL-separated files on the input.
search() {
    xargs -0 -r grep -nHIE -e "$1" -- || true
}

longer_than() {
    local suffix=$1 limit=$2
    c_files | grep -z "\\.$suffix\$" | xargs -0 -r -n 1 awk -v limit="$limit" \
        'END { if (NR > limit) print FILENAME ":" NR }'
}

# Comments, strings and regular expressions of this check must not match themselves: hence the brackets.
banned='(^|[^A-Za-z0-9_])(strcp[y]|strca[t]|sprint[f]|vsprint[f]|get[s]|strto[k]|ato[i]|ato[l]|alloc[a])[[:space:]]*\('
marks='(^|[^A-Za-z0-9_])(TOD[O]|FIXM[E]|XX[X])([^A-Za-z0-9_]|$)'

code_files() {
    own_files | grep -zE '\.(c|h|m?js|sh|py|cmake|css|html|ya?ml)$|(^|/)(CMakeLists\.txt|Dockerfile|dev|run)$'
}

report 'a .c file is split by 500 lines' < <(longer_than c 500)
report 'a header ends by 160 lines' < <(longer_than h 160)
report 'has a safer twin' < <(c_files | search "$banned")
report 'a left-over mark' < <(code_files | search "$marks")
report 'a lock file names a registry (npm install --omit-lockfile-registry-resolved)' < <(
    own_files | grep -zE '(^|/)package-lock\.json$' | search '"resolved": *"https?://'
)
report 'names a registry' < <(own_files | grep -zE '(^|/)\.npmrc$' | search '^[^#;]*registry *=')

[ "$(c_files | tr -dc '\0' | wc -c)" -gt 0 ] || report 'looked in the wrong place?' <<<'no C files'
[ "$bad" -eq 0 ] || { printf 'style: %s findings\n' "$bad" && exit 1; }
