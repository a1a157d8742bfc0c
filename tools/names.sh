#!/bin/sh
# Prints the ELF files whose functions `make names` compares, one a line: a name,
# and the path. Those of Debian's packages are taken out of them into the user's
# cache, which has then 700 MB; nothing of them is installed.
#
# usage: tools/names.sh TARGET       the folder that `make build adopters` fills
set -eu
cd "$(dirname "$0")/.."
target=${1:?the folder that was built into}
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/pmiscope/names
me=names
. tools/apt.sh

part= # a file that is not whole yet
trap '[ -z "$part" ] || rm -f "$part"; [ -z "$work" ] || rm -rf "$work"' EXIT

# The largest file of package $1 that is like $2, or of all.
take() {
    file=$cache/$1
    if [ ! -f "$file" ]; then
        make_work
        (cd "$work" && quietly apt-get download "$1") ||
            { update_lists && (cd "$work" && quietly apt-get download "$1"); } ||
            die "apt-get could not download $1"
        say "taking $1 into $cache" >&2
        dpkg-deb -c "$work/$1"_*.deb >"$work/list" || die "dpkg-deb could not list $1"
        largest=$(awk -v like="${2:-.}" '
            /^-/ && $6 ~ like && $3 > most { most = $3; name = $6 }
            END { print name }' "$work/list")
        [ -n "$largest" ] || die "$1 has no file like ${2:-any}"
        part=$file.$$
        # A pipe has the status of what is last in it.
        { dpkg-deb --fsys-tarfile "$work/$1"_*.deb || : >"$work/failed"; } |
            tar -xO "$largest" >"$part" || die "tar could not take $largest out of $1"
        [ ! -e "$work/failed" ] || die "dpkg-deb could not unpack $1"
        mv "$part" "$file"
        part=
        rm -f "$work/$1"_*.deb
    fi
    echo "$1 $file"
}

# What a meta-package $1 depends on.
meant_by() {
    apt-cache show --no-all-versions "$1" | sed -n 's/^Depends: \([^ ,]*\).*/\1/p'
}

[ -n "$(meant_by linux-image-amd64-dbg)" ] || update_lists
mkdir -p "$cache"
echo "kernel $target/x86_64-unknown-none/release/kernel"
echo "pmiscope $target/release/pmiscope"
for compiler in gcc clang; do
    elf=$target/adopters/c-limine/$compiler/c-limine
    [ ! -f "$elf" ] || echo "c-limine-$compiler $elf"
done
take "$(meant_by linux-image-amd64-dbg)"
take xen-hypervisor-4.17-amd64-dbg
take libc6-dbg
take libstdc++6-12-dbg '[.]so[.]'
take cupt-dbg
