#!/usr/bin/env bash
# The root of an image: deploy/container/collect.sh PROGRAM VERSION ROOT. The installed program, the libraries that ldd
# names, certificates, the user's name, and of each package what scanners and lawyers read. Runs in the build stage.
set -euo pipefail

program=$1 version=$2 root=$3

die() {
    printf 'collect.sh: %s\n' "$*" >&2
    exit 1
}

# Debian's /lib and /lib64 are links, and so they are here: programs name their loader by them.
make_folders() {
    local link
    mkdir -p "$root"/{etc/ssl/certs,usr/bin,usr/lib/ssl,usr/share/doc/tokencast,var/lib/dpkg/status.d}
    for link in /lib /lib64; do
        [ ! -L "$link" ] || ln -s "$(readlink "$link")" "$root$link"
    done
}

# The packages of the files that were copied.
declare -A packages=()
note_package() {
    local file=$1 found
    found=$(dpkg-query -S "$file" 2>/dev/null || dpkg-query -S "${file#/usr}") || die "no package has $file"
    packages[${found%%:*}]=yes
}

# Under the name that programs ask for; the links around it are for compilers.
copy_library() {
    local folder
    folder=$(readlink -f "${1%/*}")
    mkdir -p "$root$folder"
    cp -L --preserve=mode "$1" "$root$folder/${1##*/}"
    note_package "$(readlink -f "$1")"
}

copy_libraries() {
    local said path
    said=$(ldd "/usr/bin/$program")
    [[ $said != *'not found'* ]] || die "$said"
    while read -r path; do
        copy_library "$path"
    done < <(sed -nE 's|^.*[[:space:]](/[^ ]+) \(0x[0-9a-f]+\)$|\1|p' <<<"$said")
}

# One file for both: libcurl looks in /etc/ssl/certs, OpenSSL beside its configuration.
copy_certificates() {
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    ln -s /etc/ssl/certs/ca-certificates.crt "$root/usr/lib/ssl/cert.pem"
    packages[ca-certificates]=yes
}

write_names() {
    printf '%s\n' 'root:x:0:0:root:/:/nonexistent' 'tokencast:x:65532:65532:tokencast:/:/nonexistent' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'tokencast:x:65532:' >"$root/etc/group"
    printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
    cp -L /etc/os-release "$root/etc/os-release"
}

# Scanners for known flaws read status.d where there is no database of dpkg.
write_packages() {
    local package license
    for package in "${!packages[@]}"; do
        dpkg-query -s "$package" >"$root/var/lib/dpkg/status.d/$package"
        mkdir -p "$root/usr/share/doc/$package"
        cp -L "/usr/share/doc/$package/copyright" "$root/usr/share/doc/$package/"
    done
    mkdir -p "$root/usr/share/common-licenses"
    while read -r license; do
        [ ! -e "$license" ] || cp -L "$license" "$root/usr/share/common-licenses/"
    done < <(grep -rhoE '/usr/share/common-licenses/[A-Za-z0-9.-]*[A-Za-z0-9]' "$root/usr/share/doc" | sort -u)
    cp LICENSE "$root/usr/share/doc/tokencast/"
}

said=$("$program" --version)
[ "$said" = "$program $version" ] || die "the label would be $version, and the program says: $said"
make_folders
cp "/usr/bin/$program" "$root/usr/bin/"
copy_libraries
copy_certificates
write_names
write_packages
# Nobody in the container may change anything in it.
chmod -R u=rwX,go=rX "$root"
