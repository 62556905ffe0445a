#!/usr/bin/env bash
# tools/boot-root.sh ROOT: boots the Debian in the folder ROOT: its systemd is process 1 of namespaces of its own, whose
# only network is loopback. Ends when standard input does, and leaves no process, mount or control group. Needs root.
set -euo pipefail

root=$1 stage=${2:-outside}

# In a control group of our own, the new namespaces' root, so that systemd can have its own below it.
in_group() {
    local groups
    groups=$(mktemp -d /tmp/tc-cgroup.XXXXXX)
    mount -t cgroup2 cgroup2 "$groups"
    group=$groups/tokencast-trial-$$
    mkdir "$group"
    echo $$ >"$group/cgroup.procs"
}

leave_group() {
    echo $$ >"${group%/*}/cgroup.procs"
    for _ in $(seq 100); do # processes that were killed leave it a little later
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || true
        [ -d "$group" ] || break
        sleep 0.1
    done
    umount "${group%/*}"
    rmdir "${group%/*}"
}

# What a container's manager gives its systemd: /proc, /sys, a small /dev, /run, and the root as a mount of its own.
furnish() {
    local device
    mount --bind "$root" "$root"
    cd "$root"
    mount -t proc proc proc
    mount --bind proc/sys proc/sys # the kernel is the machine's: its variables are not this root's to set
    mount -o remount,bind,ro proc/sys
    mount -t sysfs -o ro sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs dev
    for device in null zero full random urandom tty; do
        : >"dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    mount -t tmpfs tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs tmpfs tmp
    ip link set lo up
    mkdir -p .outside
    pivot_root . .outside
    umount -l .outside
    mount --make-rshared / # systemd leaves that to whoever makes the container; credentials come by it
}

case $stage in
outside)
    exec unshare --mount --propagation private --uts --ipc --net "$0" "$root" group
    ;;
group)
    in_group
    trap leave_group EXIT
    trap 'exit 143' TERM INT
    exec 3<&0
    cat <&3 >/dev/null & # until our input ends
    input=$!
    unshare --pid --fork --kill-child --mount --cgroup "$0" "$root" inside </dev/null 3<&- &
    system=$!
    wait -n || true
    kill -KILL "$system" "$input" 2>/dev/null || true
    wait 2>/dev/null || true
    ;;
inside)
    furnish
    exec env -i container=trial PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
    ;;
esac
