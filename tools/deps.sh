#!/usr/bin/env bash
# Installs the distribution's packages that are missing: tools/deps.sh [test]. Debian 12 and 13, Ubuntu 24.04.
# A line with a|b is a choice: either installed is enough, else the first one that the distribution has.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

build_packages='
gcc
libc6-dev
cmake
ninja-build
pkgconf|pkg-config
libuv1-dev
libhiredis-dev
libmsgpack-c-dev|libmsgpack-dev
libjansson-dev
libcurl4-openssl-dev
libssl-dev
libllhttp-dev|libhttp-parser-dev
liburing-dev
uthash-dev
libcmocka-dev
redis-server
'
test_packages='
ca-certificates
clang
clang-tidy
clang-format-14|clang-format
valgrind
prometheus
shellcheck
spin
faketime
iproute2
mmdebstrap
buildah
dpkg-dev
lintian
man-db
nginx-light|nginx
haproxy
caddy
openssl
curl
jq
python3-redis
python3-msgpack
'

die() {
    printf './dev deps: %s\n' "$*" >&2
    exit 1
}

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

available() {
    local policy
    policy=$(apt-cache policy "$1" 2>/dev/null)
    [[ $policy == *Candidate:* && $policy != *'Candidate: (none)'* ]]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "not root and no sudo. As root: apt-get install ${missing[*]}"
    fi
}

updated=no
apt_update() {
    [ "$updated" = no ] || return 0
    updated=yes
    as_root apt-get -q -o DPkg::Lock::Timeout=300 update
}

# RUNLEVEL=1 keeps packages that bring a service from starting it on its usual port where init scripts decide;
# nothing here ever talks to those ports.
apt_install() {
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends "$@"
}

# Prints the package of the choice "a|b" to install; nothing if one is there already.
choose() {
    local name names
    IFS='|' read -ra names <<<"$1"
    for name in "${names[@]}"; do
        installed "$name" && return 0
    done
    for name in "${names[@]}"; do
        available "$name" && printf '%s\n' "$name" && return 0
    done
    return 1
}

missing=()
need() {
    local choice package
    for choice in "$@"; do
        if ! package=$(choose "$choice"); then
            apt_update
            package=$(choose "$choice") || die "this distribution has no package ${choice//|/ or }"
        fi
        [ -z "$package" ] || missing+=("$package")
    done
}

# The clients under test want Node 20. Where the distribution's is older, the same program comes as a Node package
# into build-node/, which ./dev puts on the PATH.
node_package=node-linux-$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
node_is_new_enough() {
    command -v node >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'
}

install_newer_node() {
    node_is_new_enough && return 0
    npm install --prefix build-node --no-save --ignore-scripts --no-audit --no-fund "$node_package@22.23.3" </dev/null
    ln -sfn "node_modules/$node_package/bin" build-node/bin
    PATH=$PWD/build-node/bin:$PATH
    node_is_new_enough || die "Node 20 or newer is needed, and neither the distribution nor npm has it for $(uname -m)"
}

# The sanitizer and fuzzer runtimes belong to one version of clang and are packaged apart.
need_clang_runtime() {
    local version
    if command -v clang >/dev/null; then
        version=$(clang -dumpversion)
    else
        version=$(apt-cache depends clang | sed -n 's/^ *Depends: clang-\([0-9]*\)$/\1/p')
    fi
    need "libclang-rt-${version%%.*}-dev"
}

need_chromium() {
    command -v chromium >/dev/null && return 0
    available chromium || apt_update
    if available chromium; then
        missing+=(chromium)
    else
        printf './dev deps: no chromium package here: the browser suite needs a program called chromium\n' >&2
    fi
}

need_for_tests() {
    # shellcheck disable=SC2086 # a list of words
    need $test_packages
    need_clang_runtime
    need_chromium
    command -v node >/dev/null || need nodejs
    command -v npm >/dev/null || need npm
}

install_missing() {
    [ ${#missing[@]} -gt 0 ] || return 0
    printf 'installing: %s\n' "${missing[*]}"
    apt_install "${missing[@]}" && return 0
    [ "$updated" = no ] || die "apt-get could not install: ${missing[*]}"
    apt_update # old lists name packages that are gone
    apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
}

# Node packages of the test suites, exactly as locked and without running any of their scripts.
install_node_packages() {
    local sum
    sum=$(cksum <tests/package-lock.json)
    [ "$(cat tests/node_modules/.installed-lock 2>/dev/null)" != "$sum" ] || return 0
    # Quietly: what the schemas of Kubernetes ask for in Node is newer than what they need.
    (cd tests && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error </dev/null)
    mkdir -p tests/node_modules
    printf '%s\n' "$sum" >tests/node_modules/.installed-lock
}

what=${1:-build}
case $what in
build | test) ;;
*) die "takes nothing, or the word test" ;;
esac
if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    printf './dev deps: no apt here. Needed, under the names of this system:%s\n' "${build_packages//$'\n'/ }" >&2
    exit 0
fi
# shellcheck disable=SC2086 # a list of words
need $build_packages
[ "$what" = build ] || need_for_tests
install_missing
if [ "$what" = test ]; then
    install_newer_node
    install_node_packages
fi
