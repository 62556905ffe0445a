#!/usr/bin/env bash
# Explores the models of the protocol with spin: tests/model/run.sh [NAME | deep]. Without arguments all of cases.txt, a
# line each: a clean case must have no error in all of its states, a mutant must have one. NAME: one case, and its trail
# if there is one. deep: with the cases that are too large for every day.
set -uo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")" || exit 2
source=$PWD
limit=240         # seconds for one case
memory=1400       # MiB for one case; two run at once
unfinished='max search depth too small|out of memory|Search not completed'
work=$(mktemp -d) || exit 2
pids=()

cleanup() {
    local pid
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null
    done
    wait
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

# build NAME KIND MODEL OPTIONS...: a checker in $work/NAME. A mutant is searched breadth first, for a shortest trail.
build() {
    local kind=$2 model=$3 search=(-O2) flags=()
    mkdir -p "$work/$1" && cd "$work/$1" || return 1
    shift 3
    flags=("${@/#/-D}")
    case $kind in
    mutant)
        flags+=(-DBREADTH)
        search=(-DBFS -O0)
        ;;
    deep) memory=2900 ;;
    esac
    cp "$source"/*.pml "$source"/*.inc . &&
        spin -a "${flags[@]}" "$model.pml" >spin.txt 2>&1 &&
        gcc -w -DSAFETY -DVECTORSZ=1024 "-DMEMLIM=$memory" "${search[@]}" -o pan pan.c >gcc.txt 2>&1
}

number() { # of the search's report
    sed -nE "s/$1/\\1/p" pan.txt | head -n 1
}

# explore NAME KIND MODEL OPTIONS...: its line in $work/NAME.line.
explore() {
    local name=$1 kind=$2 status errors states depth seconds verdict=FAILED why=''
    if ! build "$@"; then
        printf 'check FAILED: %s (does not build)\n' "$name" >"$work/$name.line"
        cat "$work/$name"/*.txt >>"$work/$name.line"
        return
    fi
    cd "$work/$name" || return
    [ "$kind" != deep ] || limit=900
    timeout -k 5 "$limit" ./pan -m100000 -w22 >pan.txt 2>&1
    status=$?
    errors=$(number '.*errors: ([0-9]+).*')
    states=$(number ' *([0-9]+) states, stored.*')
    depth=$(number '.*depth reached ([0-9]+),.*')
    seconds=$(number 'pan: elapsed time ([0-9.]+) seconds')
    if [ "${errors:-0}" -gt 0 ]; then
        why=', has an error'
        [ "$kind" != mutant ] || { verdict=ok && why=', caught'; }
    elif [ "$status" -ne 0 ] || [ -z "$errors" ] || grep -qE "$unfinished" pan.txt; then
        why=', not searched to the end'
    elif [ "$kind" = mutant ]; then
        why=', not caught'
    else
        verdict=ok
    fi
    printf 'check %s: %s (states %s, depth %s, %s s%s)\n' "$verdict" "$name" "${states:-?}" "${depth:-?}" \
        "${seconds:-?}" "$why" >"$work/$name.line"
    mv pan.txt "$work/$name.txt"
}

# The case's options become -D; its trail is what the model's own lines say.
trail() {
    local name=$1 kind=$2 model=$3 flags=()
    shift 3
    flags=("${@/#/-D}")
    [ "$kind" != mutant ] || flags+=(-DBREADTH)
    cd "$work/$name" || return
    [ -f "$model.pml.trail" ] || return 0
    spin -t -T "${flags[@]}" "$model.pml" 2>&1 | sed -nE '/^#processes|^spin: trail/q; /^spin: /!p'
    grep -m 1 'pan:1:' "$work/$name.txt"
}

cases=()
while IFS='|' read -r name kind model options _; do
    [ -z "$name" ] || [ "${name:0:1}" = '#' ] || cases+=("$name $kind $model $options")
done <cases.txt

if [ $# -eq 1 ] && [ "$1" != deep ]; then
    for case in "${cases[@]}"; do
        read -r -a words <<<"$case"
        [ "${words[0]}" = "$1" ] || continue
        explore "${words[@]}"
        cat "$work/$1.line"
        trail "${words[@]}"
        grep -q '^check ok' "$work/$1.line"
        exit
    done
    printf 'no such case: %s; they are in tests/model/cases.txt\n' "$1" >&2
    exit 2
fi

names=()
for case in "${cases[@]}"; do
    read -r -a words <<<"$case"
    [ "${words[1]}" != deep ] || [ "${1:-}" = deep ] || continue
    while [ "$(jobs -pr | wc -l)" -ge 2 ]; do
        wait -n
    done
    explore "${words[@]}" &
    pids+=($!)
    names+=("${words[0]}")
done
wait
for name in "${names[@]}"; do
    cat "$work/$name.line"
done
! cat "$work"/*.line | grep -q FAILED
