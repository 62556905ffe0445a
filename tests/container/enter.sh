#!/usr/bin/env bash
# A program in an image's root, as an engine runs it with --read-only and --cap-drop ALL: enter.sh ROOT USER HOSTS BUNDLE
# COMMAND... Root starts it in a mount and a process namespace of its own, where it is process 1. HOSTS becomes
# /etc/hosts, BUNDLE the file of certificates; "-" leaves what the image has.
set -euo pipefail

root=$1 user=$2 hosts=$3 bundle=$4
shift 4
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
[ "$hosts" = - ] || mount --bind "$hosts" "$root/etc/hosts"
[ "$bundle" = - ] || mount --bind "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs unshare --root "$root" --setuid "${user%:*}" --setgid "${user#*:}" -- "$@"
