# shellcheck shell=bash
# Which files are the project's own, for scripts that look at all of them. Sourced; run from the root of a tree.

# C sources and headers, NUL-separated; more arguments narrow the folders.
c_files() {
    own_files "$@" | grep -zE '\.[ch]$' || true
}

# Every file of the project that people write, NUL-separated.
own_files() {
    local folders=("$@")
    [ $# -gt 0 ] || folders=(.)
    find "${folders[@]}" \( -name .git -o -name node_modules -o -path './build' -o -path './build-*' -o \
        -path '*tests/out' \) -prune -o -type f -print0 | sed -z 's|^\./||' | sort -z
}

# The formatter that .clang-format was written for, or whatever there is: versions differ in small ways.
clang_format() {
    command -v clang-format-14 || command -v clang-format ||
        { printf 'clang-format is missing: ./dev deps test\n' >&2 && return 1; }
}
