#!/usr/bin/env bash
# tools/rootfs.sh: prints the path of a tar file with a minimal Debian 12, made from the machine's package sources if it
# is not there yet. The container image and the trial of the Debian package start from it.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
file=build-root/bookworm.tar

if ! command -v mmdebstrap >/dev/null; then
    printf 'tools/rootfs.sh: mmdebstrap is missing: ./dev deps test installs it\n' >&2
    exit 1
fi
if [ ! -e "$file" ]; then
    mkdir -p build-root
    fresh=$(mktemp -d build-root/making.XXXXXX)
    trap 'rm -rf "$fresh"' EXIT
    mmdebstrap --quiet --variant=minbase bookworm "$fresh/root.tar" >&2
    mv "$fresh/root.tar" "$file"
fi
printf '%s\n' "$PWD/$file"
