#!/usr/bin/env bash
# Builds both images without a container engine, from the minimal Debian of tools/rootfs.sh by buildah with chroot
# isolation: deploy/container/build.sh [--keep]. Does nothing if they are there for these sources. Everything is in
# build-container/, large things only while it runs; --keep keeps the installed packages for the next build (700 MB).
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
here=$PWD/build-container
limit=900 # seconds; a step that hangs must not hold up a run
log=$here/build.log

die() {
    printf 'deploy/container/build.sh: %s\n' "$*" >&2
    exit 1
}

keep=no
case ${1:-} in
'') ;;
--keep) keep=yes ;;
*) die "what is '$1'? It takes --keep or nothing" ;;
esac
[ "$(id -u)" -eq 0 ] || die "buildah with chroot isolation is run as root here"
command -v buildah >/dev/null || die "buildah is missing: ./dev deps test installs it"

mkdir -p "$here"
exec 9>"$here/lock"
flock -w "$limit" 9 || die "another build holds $here/lock"

# vfs works on any file system, and where nobody may mount.
buildah=(timeout -k 10 "$limit" buildah --root "$here/storage" --runroot "$here/run" --storage-driver vfs)
buildah_() {
    "${buildah[@]}" "$@" 9>&-
}

version=$(sed -nE 's/^project\(tokencast VERSION ([0-9.]+).*/\1/p' CMakeLists.txt)
[ -n "$version" ] || die "CMakeLists.txt names no version"
# What .dockerignore lets through, and what else decides.
inputs=(CMakeLists.txt CMakePresets.json LICENSE cmake proto worker broker tools/deps.sh tools/rootfs.sh .dockerignore deploy/container)
revision=$(git rev-parse HEAD 2>/dev/null || printf unknown)
[ -z "$(git status --porcelain -- "${inputs[@]}" 2>/dev/null)" ] || revision+=-modified
# A remote that needs a name or a key is nobody else's to read.
source_url=$(git remote get-url origin 2>/dev/null || true)
[[ $source_url =~ ^https://[^@]+$ ]] || source_url=unknown
epoch=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || printf 0)}

is_there() {
    buildah_ inspect --type image "$1" >/dev/null 2>&1
}

# The programs depend on the sources alone, what the images say of themselves on the commit too.
inputs_sum=$(find "${inputs[@]}" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-12)
packages=localhost/tokencast-packages:$(cat tools/deps.sh deploy/container/Dockerfile | sha256sum | cut -c 1-12)
roots=localhost/tokencast-roots:$inputs_sum
sum="$inputs_sum $revision $source_url $epoch"
if [ "$(cat "$here/built" 2>/dev/null)" = "$sum" ] && is_there "localhost/tokencast/broker:$version" &&
    is_there "localhost/tokencast/worker:$version"; then
    exit 0
fi
rm -f "$here/built"

# bud STAGE IMAGE ARGUMENT...: the stage as an image. Not by layers: with vfs each is a copy of everything below it. In
# Docker's form, since the OCI's knows no HEALTHCHECK. In the background, so that a signal to us ends it and not only us.
building=''
bud() {
    local stage=$1 image=$2 began=$SECONDS
    shift 2
    printf -- '--- %s\n' "$stage" >>"$log"
    "${buildah[@]}" bud --isolation chroot --network host --layers=false --format docker --timestamp "$epoch" --pull-never \
        --build-arg BASE=localhost/tokencast-debian:12 --build-arg VERSION="$version" --build-arg REVISION="$revision" \
        --build-arg SOURCE="$source_url" "$@" -f deploy/container/Dockerfile --target "$stage" -t "$image" . \
        </dev/null >>"$log" 2>&1 9>&- &
    building=$!
    if ! wait "$building"; then
        building=''
        tail -n 60 "$log" >&2
        die "the stage $stage could not be built; all that was said is in $log"
    fi
    building=''
    printf '%-9s %3d s\n' "$stage" $((SECONDS - began))
}

remove() {
    buildah_ rmi -f "$1" >/dev/null 2>&1 || true
}

# Whatever ended us: large things go. A stage that was broken off has left its container.
tidy() {
    local image
    if [ -n "$building" ]; then
        kill "$building" 2>/dev/null || true
        wait "$building" || true
    fi
    buildah_ rm -a >/dev/null 2>&1 || true
    for image in $(buildah_ images --format '{{.Name}}:{{.Tag}}'); do
        case $image in
        localhost/tokencast/*) ;;
        "$roots") ;;
        "$packages") [ "$keep" = yes ] || remove "$image" ;;
        *) remove "$image" ;;
        esac
    done
    buildah_ rmi --prune >/dev/null 2>&1 || true
}

import_debian() {
    local tar container
    tar=$(tools/rootfs.sh)
    container=$(buildah_ from scratch)
    buildah_ add -q "$container" "$tar" / >>"$log"
    buildah_ commit -q --rm "$container" localhost/tokencast-debian:12 >>"$log"
}

of_image() {
    printf -- '--build-context=%s=container-image://%s' "$1" "$2"
}

: >"$log"
trap tidy EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
if ! is_there "$roots"; then
    is_there "$packages" || import_debian
    [ "$keep" = no ] || is_there "$packages" || bud packages "$packages"
    from_packages=()
    ! is_there "$packages" || from_packages=("$(of_image packages "$packages")")
    bud roots "$roots" "${from_packages[@]}"
fi
for tier in broker worker; do
    bud "$tier" "localhost/tokencast/$tier:$version" "$(of_image roots "$roots")"
    rm -f "$here/tokencast-$tier.tar"
    buildah_ push -q "localhost/tokencast/$tier:$version" "docker-archive:$here/tokencast-$tier.tar:tokencast/$tier:$version" >>"$log"
done
printf '%s\n' "$sum" >"$here/built"
printf '%s\n' "for docker load: build-container/tokencast-broker.tar and build-container/tokencast-worker.tar"
