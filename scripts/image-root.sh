#!/bin/sh
# Lays out what the image of the tidewheel program holds: the program, the shared libraries that it asks for, the certificates of
# public authorities, and a user that is not root. The Dockerfile calls it, and so does whoever makes the image without a registry.
#
#   scripts/image-root.sh PROGRAM FOLDER
set -eu
program=$1 root=$2

missing() {
    printf '\n  missing: %s\n  do this: %s\n\n' "$1" "$2" >&2
    exit 1
}

certificates=/etc/ssl/certs/ca-certificates.crt
[ -r "$certificates" ] || missing "$certificates" "on Debian or Ubuntu: apt-get install ca-certificates"
command -v strip >/dev/null || missing "strip" "on Debian or Ubuntu: apt-get install binutils"

mkdir -p "$root/usr/bin" "$root/etc/ssl/certs"
# Names of functions stay, for backtraces.
strip --strip-debug -o "$root/usr/bin/tidewheel" "$program"
chmod 755 "$root/usr/bin/tidewheel"
cp "$certificates" "$root/etc/ssl/certs/"

# `NAME => PATH (ADDRESS)` for a library, `PATH (ADDRESS)` for the loader, which stands in the program under that very path.
libraries=$(ldd "$program")
case $libraries in *"not found"*) missing "libraries of $program: $libraries" "build it on this machine" ;; esac
echo "$libraries" | awk '$2 == "=>" { print $3; next } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

printf 'tidewheel:x:65532:65532::/:/sbin/nologin\n' >"$root/etc/passwd"
printf 'tidewheel:x:65532:\n' >"$root/etc/group"
printf 'hosts: files dns\n' >"$root/etc/nsswitch.conf"
