#!/usr/bin/env bash
# Who may include whom: tests/lint/layers.sh [TREE]. proto knows neither tier, the tiers know proto and never each
# other, no path climbs with ../, and a .c file includes its own header first.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
cd "${1:-$here}"
# shellcheck source=../../tools/sources.sh
. "$here/tools/sources.sh"

declare -A roots=(
    [proto]='proto proto/include'
    [worker]='worker worker/publish/include proto proto/include'
    [broker]='broker proto proto/include'
)
every_root='proto proto/include worker worker/publish/include broker'
bad=0

report() {
    printf '%s\n' "$1"
    bad=$((bad + 1))
}

# found PATH FOLDER...: one of the folders has it.
found() {
    local path=$1 folder
    shift
    for folder in "$@"; do
        [ ! -e "$folder/$path" ] || return 0
    done
    return 1
}

# Quoted paths must lead to a folder of the tier's own list; paths in <> are the system's unless we have such a file.
check_include() {
    local tier=$1 file=$2 line=$3 quote=$4 path=$5 allowed=${roots[$1]}
    if [[ $path == *../* ]]; then
        report "$file:$line: climbs with ../: $path"
        return
    fi
    # shellcheck disable=SC2086 # lists of folders
    if found "$path" "${file%/*}" $allowed; then
        return
    elif [[ $path == broker/* || $path == worker/* ]] || found "$path" $every_root; then
        report "$file:$line: $tier may not include $path"
    elif [ "$quote" = '"' ]; then
        report "$file:$line: no such header for $tier: $path"
    fi
}

# The header that declares FILE's noun, as FILE would include it; nothing if it has none.
own_header() {
    local tier=$1 file=$2 noun root
    noun=$(basename "$file" .c)
    for root in ${roots[$tier]}; do
        if [[ $file == "$root"/* && -e ${file%.c}.h ]]; then
            local path=${file%.c}.h
            printf '%s\n' "${path#"$root"/}"
            return
        fi
    done
    for root in "$tier/include" "$tier/publish/include"; do
        if [[ -e $root/tokencast/$noun.h && (${file%/*} == "${root%/include}"* || $tier == proto) ]]; then
            printf 'tokencast/%s.h\n' "$noun"
            return
        fi
    done
}

check_file() {
    local tier=$1 file=$2 row line rest quote path first=''
    while IFS= read -r row; do
        line=${row%%:*}
        rest=${row#*:}
        [[ $rest =~ include[[:space:]]*([\"\<])([^\"\>]+) ]] || continue
        quote=${BASH_REMATCH[1]}
        path=${BASH_REMATCH[2]}
        [ -n "$first" ] || first=$path
        check_include "$tier" "$file" "$line" "$quote" "$path"
    done < <(grep -nE '^[[:space:]]*#[[:space:]]*include\b' "$file" || true)

    local own
    [[ $file == *.c ]] || return 0
    own=$(own_header "$tier" "$file")
    if [ -n "$own" ] && [ "$first" != "$own" ]; then
        report "$file:1: its own header comes first: \"$own\", not \"$first\""
    fi
}

files=0
for tier in proto worker broker; do
    while IFS= read -r -d '' file; do
        files=$((files + 1))
        check_file "$tier" "$file"
    done < <(c_files "$tier")
done
[ "$files" -gt 0 ] || report "no C files under proto, worker and broker: looked in the wrong place?"
[ "$bad" -eq 0 ] || { printf 'layers: %s wrong in %s files\n' "$bad" "$files" && exit 1; }
