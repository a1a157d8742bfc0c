#!/bin/sh
# Gets a stock Linux to boot on the emulator: Debian's kernel, its perf and a static
# busybox, as packages that apt checks and that are unpacked into the user's cache,
# not installed. Needs no root, asks nothing, is quick when they are there. The
# last line that it prints is their folder: `vmlinuz`, `root.cpio` and `busybox` are in it.
#
# usage: tools/qemu-pmu/linux/image.sh         gets them, if they are not there
#        tools/qemu-pmu/linux/image.sh path    gets nothing: prints the folder, or fails
set -eu
cd "$(dirname "$0")/../../.."
me=lab-linux
. tools/apt.sh

# The pin: Debian 12's Linux, whatever Debian this is.
suite=bookworm
series=6.1
meta=linux-image-amd64

hash=$(sha256sum <tools/qemu-pmu/linux/image.sh | cut -c1-12)
cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/pmiscope

# The newest of those that this script got.
there() {
    image=$(ls -d "$cache"/linux-"$series"*-"$hash" 2>/dev/null | sort -V | tail -n 1)
    [ -n "$image" ] && [ -f "$image/vmlinuz" ] && [ -f "$image/root.cpio" ] && [ -x "$image/busybox" ]
}

case ${1-} in
'') ;;
path)
    there || die "no Linux yet; please run: tools/qemu-pmu/linux/image.sh"
    echo "$image"
    exit
    ;;
*) die "unknown word '$1'; usage: tools/qemu-pmu/linux/image.sh [path]" ;;
esac
if there; then
    echo "$image"
    exit
fi

have apt-get && have dpkg-deb || die "no apt-get here, by which Debian's Linux and perf are fetched"
make_work
new=$cache/new-linux-$$
trap 'rm -rf "$work" "$new"' EXIT
fail() {
    tail -n 5 "$work/log" >&2
    die "$*"
}

# --- Fetching --------------------------------------------------------------------

# apt with lists, sources and a status of its own. The machine's are not touched,
# and as nothing is installed in that status, whatever perf depends on is fetched.
mkdir -p "$work/sources" "$work/lists/partial" "$work/apt/archives/partial" "$work/kernel" "$work/packages"
write_sources "$suite" "$work/sources/debian" deb
: >"$work/status"
set -- -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$work/sources" \
    -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/apt" -o Acquire::Languages=none \
    -o Dir::State::status="$work/status" -o Dir::State::extended_states="$work/extended" \
    -o Debug::NoLocking=1
# It fails when one archive of several does not have the suite.
quietly apt-get -qq "$@" update || true
kernel=$(apt-cache "$@" depends "$meta" 2>>"$work/log" | sed -n "s/^ *Depends: \(linux-image-$series\.[^ ]*-amd64\)\$/\1/p")
[ -n "$kernel" ] || fail "this machine's Debian archive has no $meta of Linux $series in its suite $suite"
version=$(apt-cache "$@" show --no-all-versions "$kernel" | sed -n 's/^Version: //p')
say "fetching $kernel $version, its perf and busybox from Debian's $suite: about 100 MB"
# apt checks them against the archive's signature.
(cd "$work/kernel" && quietly apt-get "$@" download "$kernel") || fail "could not fetch $kernel"
quietly apt-get "$@" -y --no-install-recommends --download-only install linux-perf busybox-static coreutils ||
    fail "could not fetch linux-perf, busybox-static and coreutils"

# --- Unpacking -------------------------------------------------------------------

say "unpacking them"
for package in "$work"/apt/archives/*.deb; do
    quietly dpkg-deb --extract "$package" "$work/packages" || fail "could not unpack $package"
done
mkdir -p "$new" "$work/root/bin" "$work/root/lib" "$work/root/lib64" "$work/root/dev" "$work/root/proc" \
    "$work/root/sys" "$work/root/tmp" "$work/root/root"
dpkg-deb --fsys-tarfile "$work"/kernel/*.deb | tar -x -C "$new" --strip-components=2 --wildcards './boot/vmlinuz-*' ||
    fail "no kernel in $kernel"
mv "$new"/vmlinuz-* "$new/vmlinuz"

# perf, and the libraries that its own dynamic linker finds for it. Its tests run a
# dynamically linked sleep and true.
libraries=$work/packages/lib/x86_64-linux-gnu:$work/packages/usr/lib/x86_64-linux-gnu
linker=$work/packages/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
for program in usr/bin/perf bin/sleep bin/true; do
    "$linker" --library-path "$libraries" --list "$work/packages/$program" >>"$work/needed" 2>>"$work/log" ||
        fail "$program lacks a library"
    cp -L "$work/packages/$program" "$work/root/bin/"
done
sed -n 's/.* => \(\/[^ ]*\) (.*/\1/p' "$work/needed" | while read -r library; do
    cp -L "$library" "$work/root/lib/"
done
cp -L "$linker" "$work/root/lib64/"
cp -L "$work/packages/bin/busybox" "$work/root/bin/"
cp -L "$work/packages/bin/busybox" "$new/"
busybox=$work/root/bin/busybox
"$busybox" --list | while read -r command; do
    [ -e "$work/root/bin/$command" ] || ln -s busybox "$work/root/bin/$command"
done
(cd "$work/root" && find . | "$busybox" cpio -o -H newc -R 0:0 2>>"$work/log") >"$new/root.cpio" ||
    fail "could not pack perf and busybox"

# All of it comes into being in one step. Another one at the same time may have
# been first.
mv -T "$new" "$cache/linux-$version-$hash" 2>/dev/null || true
there || die "could not write to $cache"
say "Linux $version is in $image"
echo "$image"
