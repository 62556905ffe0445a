#!/usr/bin/env bash
# tools/manpage.sh TEMPLATE PROGRAM: the manual page in TEMPLATE (mdoc) with the options that PROGRAM's --help names in
# place of the line @OPTIONS@ and its version for @VERSION@.
set -euo pipefail

template=$1 program=$2
version=$("$program" --version)
help=$("$program" --help)

# An option is three lines: "  --name VALUE", what it does, "(VARIABLE, default …)".
options() {
    printf '%s\n' "$help" | awk '
        function plain(text) {
            gsub(/\\/, "\\e", text)
            gsub(/-/, "\\-", text)
            return "\\&" text
        }
        /^  --help, --version$/ { exit }
        /^  --/ { name = substr($1, 2); value = $2; step = 1; next }
        step == 1 { what = substr($0, 7); step = 2; next }
        step == 2 {
            detail = substr($0, 7)
            printf ".It Fl %s%s\n%s.\n.br\n%s\n", plain(name), value == "" ? "" : " Ar " value, plain(what), plain(detail)
            step = 0
            count++
        }
        END { if (count == 0) exit 1 }'
}

rows=$(options) || { printf 'tools/manpage.sh: %s --help names no options\n' "$program" >&2 && exit 1; }
while IFS= read -r line; do
    if [ "$line" = @OPTIONS@ ]; then
        printf '%s\n' "$rows"
    else
        printf '%s\n' "${line//@VERSION@/${version##* }}"
    fi
done <"$template"
