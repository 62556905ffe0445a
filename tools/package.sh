#!/usr/bin/env bash
# tools/package.sh: builds the Debian packages of this system into build-package/packages/ and prints their paths. A build
# tree of its own, since what is packaged lives under /usr; the same sources give the same bytes.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
tree=build-package

for program in cmake dpkg-shlibdeps gzip; do
    command -v "$program" >/dev/null || { printf '%s is missing: ./dev deps test installs it\n' "$program" >&2 && exit 1; }
done
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(sed -n 's/^ -- .*>  //p' deploy/debian/changelog.in | head -n 1 | date -u -f - +%s)
fi
export SOURCE_DATE_EPOCH TC_SQUEEZE=yes
umask 022

{
    cmake --preset release -B "$tree" -DCMAKE_INSTALL_PREFIX=/usr -DTC_TESTS=OFF
    cmake --build "$tree" --parallel "${JOBS:-$(nproc)}"
    rm -rf "$tree/packages"
    (cd "$tree" && cpack -G DEB)
} >&2
find "$PWD/$tree/packages" -maxdepth 1 -name '*.deb' | sort
