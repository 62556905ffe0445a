#!/usr/bin/env bash
# tools/trial-root.sh ROOT PACKAGE.deb...: makes in the folder ROOT a minimal Debian with systemd, Redis and a compiler,
# and installs the packages with its own apt-get, which finds what they depend on. ROOT.before lists the files that were
# there without them. Needs root.
set -euo pipefail

root=$1
shift

if [ "${TC_TRIAL_ALONE:-}" != yes ]; then # mounts of our own, gone with us
    exec env TC_TRIAL_ALONE=yes unshare --mount --propagation private "$0" "$root" "$@"
fi

# Only this folder, and only if it is one of ours or not there.
if [ -e "$root" ] && [ ! -e "$root.before" ]; then
    printf 'tools/trial-root.sh: %s is something else\n' "$root" >&2
    exit 1
fi
tar=$("$(dirname "$0")/rootfs.sh")
rm -rf --one-file-system "$root"
: >"$root.before"
mkdir -p "$root"
tar -C "$root" -xf "$tar"

# The network as this machine knows it; no service starts before the root is booted.
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
apt-config dump --format '%F "%v";%n' Acquire | grep -v ':: ' >"$root/etc/apt/apt.conf.d/90trial" || true
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
mount -t proc proc "$root/proc"

inside() {
    chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}

apt() {
    inside apt-get -q -y -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Use-Pty=0 --no-install-recommends "$@" </dev/null
}

apt update
apt install systemd redis-server gcc libc6-dev pkgconf
inside find / -xdev -path /proc -prune -o -print | sort >"$root.before"
mkdir "$root/packages"
cp "$@" "$root/packages/"
for package in "$@"; do
    set -- "$@" "/packages/$(basename "$package")"
    shift
done
apt install "$@"
rm "$root/usr/sbin/policy-rc.d"
